"""The engine on a database of architectures."""

from __future__ import annotations
