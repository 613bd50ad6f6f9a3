"""``python -m dragonfly`` is the ``dragonfly`` command."""

from __future__ import annotations

from dragonfly.cli.main import main

if __name__ == "__main__":
    main()
