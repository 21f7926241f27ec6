"""``python -m curvestep`` is the command ``curvestep``."""

from __future__ import annotations

from curvestep.cli.main import main

if __name__ == "__main__":
    main()
