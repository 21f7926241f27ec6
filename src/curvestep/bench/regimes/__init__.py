"""The regimes that the source of curvature rescaling leaves open, an experiment a file; a page says what came of them."""

from __future__ import annotations
