"""Data sets: read once through `datasets` (hub or local files, one call), kept as cached tensors."""

from __future__ import annotations
