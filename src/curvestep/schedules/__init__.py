"""Schedules of the level ℓ: each function attaches a ``torch.optim.lr_scheduler`` to an optimizer."""

from __future__ import annotations

from curvestep.schedules.exponential import exponential as exponential
from curvestep.schedules.linear import linear as linear
from curvestep.schedules.ran import ran as ran
from curvestep.schedules.red import red as red

__all__ = ["exponential", "linear", "ran", "red"]
