"""The regimes that the source of curvature rescaling leaves open: an experiment a file, and rows for a page."""

from __future__ import annotations
