"""Tables and figures of a run store; reads nothing else and imports no torch."""

from __future__ import annotations
