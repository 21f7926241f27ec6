"""The figures of the source of curvature rescaling, run again: which runs, the sweep that makes them, figures, a page."""

from __future__ import annotations
