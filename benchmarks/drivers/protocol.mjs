// What protocol.py is for Python: the same commands, options and lines.
// BENCH_PACKAGES names the folder into which npm installed the rivals.
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'

export const JOB_TYPE = 'bench'
export const OTHER_TYPE = 'bench_other'
export const DAY = 86_400_000
export const require = createRequire(`${process.env.BENCH_PACKAGES}/`)

// a planned batch ends when its last job has been due for so long
const BATCH_REST = 100
const now = () => process.hrtime.bigint()
const seconds = (start) => Number(now() - start) / 1e9

// nanoseconds since boot stay below 2^53 for a hundred days, so plain numbers are exact
export const say = (values) =>
  process.stdout.write(
    JSON.stringify(values, (_, value) => (typeof value === 'bigint' ? Number(value) : value)) + '\n'
  )

export async function run(contestant) {
  const [command, dsn, json] = process.argv.slice(2)
  const options = {
    count: 0, tuned: true, padding: 80, kind: 'now', bulk: 1000, step: 1, every: 0.02, offsets: [],
    batch: 1, ...JSON.parse(json)
  }
  options.jobType = options.kind === 'other' ? OTHER_TYPE : JOB_TYPE
  await contestant.open(dsn, options)
  await COMMANDS[command](contestant, options)
  if (command !== 'work') process.stdout.write('', () => process.exit(0))
}

const payload = (n, options) => ({ n, padding: 'x'.repeat(options.padding) })

const COMMANDS = {
  async create(contestant) {
    await contestant.create()
    say({ created: true })
  },
  async fill(contestant, options) {
    const payloads = Array.from({ length: options.count }, (_, n) => payload(n, options))
    const start = now()
    for (let first = 0; first < options.count; first += options.bulk) {
      await contestant.addMany(payloads.slice(first, first + options.bulk), options.kind)
    }
    say({ seconds: seconds(start) })
  },
  async ones(contestant, options) {
    // the first call opens the connection and plans the statement
    await contestant.add(payload(0, options))
    const start = now()
    for (let n = 0; n < options.count; n++) await contestant.add(payload(n, options))
    say({ seconds: seconds(start) })
  },
  async crowd(contestant, options) {
    const each = Math.floor(options.count / options.connections)
    const add = async (count) => {
      for (let n = 0; n < count; n++) await contestant.add(payload(n, options))
    }
    const all = (count) => Promise.all(Array.from({ length: options.connections }, () => add(count)))
    // the pool opens its connections
    await all(1)
    const start = now()
    await all(each)
    say({ seconds: seconds(start), added: each * options.connections })
  },
  async ring(contestant, options) {
    const returned = []
    for (let n = 0; n < options.count; n++) {
      const start = now()
      await contestant.add(payload(n, options))
      returned.push(now())
      await sleep(Math.max(0, 1000 * (options.every - seconds(start))))
    }
    say({ returned })
  },
  async plan(contestant, options) {
    const due = []
    for (let first = 0; first < options.offsets.length; first += options.batch) {
      const begin = Date.now()
      const times = options.offsets
        .slice(first, first + options.batch)
        .map((offset) => begin + Math.round(offset * 1000))
      for (let n = 0; n < times.length; n++) {
        await contestant.addAt(payload(first + n, options), new Date(times[n]))
      }
      due.push(...times.map((time) => time / 1000))
      await sleep(Math.max(...times) + BATCH_REST - Date.now())
    }
    say({ due })
  },
  async work(contestant, options) {
    const lines = createInterface({ input: process.stdin })
    lines.on('close', () => process.exit(0))
    say({ ready: process.pid })
    await new Promise((resolve) => lines.once('line', resolve))
    await contestant.work(options.stamps ? stamping(options.count) : counting(options.step))
  }
}

function counting(step) {
  let started = 0
  return (job) => {
    started += 1
    if (started === 1 || started % step === 0) say({ started, at: now(), n: job.n })
  }
}

function stamping(count) {
  const stamps = new Map()
  return (job) => {
    if (!stamps.has(job.n)) stamps.set(job.n, now())
    if (stamps.size === count) say({ stamps: Array.from({ length: count }, (_, n) => stamps.get(n)) })
  }
}
