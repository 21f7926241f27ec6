"""How much the end of a run depends on the one number that a method is given, over nine decades of it."""

from __future__ import annotations
