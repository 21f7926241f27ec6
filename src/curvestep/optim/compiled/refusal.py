"""Why a step cannot be compiled."""

from __future__ import annotations


class NotCompiled(Exception):
    """What stands in the way of a graph, as the first half of a sentence; it never leaves the compiled step."""
