"""`python -m benchmarks`."""

from __future__ import annotations

import sys

from benchmarks.commands import main

raise SystemExit(main(sys.argv[1:]))
