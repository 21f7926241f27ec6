"""The command line; importing it imports no torch."""

from __future__ import annotations
