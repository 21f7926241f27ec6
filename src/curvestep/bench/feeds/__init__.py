"""Batches on the device: `examples` for images, `windows` for text."""

from __future__ import annotations
