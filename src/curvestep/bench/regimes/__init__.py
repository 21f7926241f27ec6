"""The regimes that the source of curvature rescaling leaves open: each experiment leaves rows, and a page its verdict."""

from __future__ import annotations
