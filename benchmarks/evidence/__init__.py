"""What all stores say together: the sources' claims with their verdicts, every figure and table, on one page."""

from __future__ import annotations
