"""Prototypes of step rules for Auto; experiments, not a part of the library."""

from __future__ import annotations

from benchmarks.league.methods.driver import Method

PROTOTYPES: dict[str, Method] = {}
