"""The figures of the source of curvature rescaling, run again: a plan, the sweep that makes it, drawings, a page."""

from __future__ import annotations
