"""The methods of the league, one row each."""

from __future__ import annotations

from benchmarks.league.methods.ours import NUMBERS, OURS, TRIAL, VARIED, VARIED_TRIALS, number, trial_number
from benchmarks.league.methods.rivals import ADAMW, RIVALS

METHODS = {row.name: row for row in (*RIVALS, *OURS)}

__all__ = ["ADAMW", "METHODS", "NUMBERS", "TRIAL", "VARIED", "VARIED_TRIALS", "number", "trial_number"]
