"""Rounding errors of the curvature in every setting of speed and precision."""

from __future__ import annotations
