"""Every rule of the engine against its truths."""

from __future__ import annotations
