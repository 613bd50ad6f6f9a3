"""The supervisor's decisions alone: its own coroutines on a stage so small that a life takes a few
milliseconds. No asyncio, no statements, no connections; time, order and faults are the seed's.
"""
