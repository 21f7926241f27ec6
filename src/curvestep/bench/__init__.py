"""Benchmarks: tasks, methods, the training loop and the run store.

Importing this package imports no torch; the modules that train import it themselves.
"""

from __future__ import annotations
