"""The whole step as one compiled graph: forward, backward, direction and measurement."""

from __future__ import annotations

from curvestep.optim.compiled.backend import Backend as Backend
from curvestep.optim.compiled.step import CompiledStep as CompiledStep

__all__ = ["Backend", "CompiledStep"]
