"""Directions: which way the parameters move. Each is a frozen dataclass of one method."""

from __future__ import annotations

from curvestep.directions._base import FIRST_MOMENT as FIRST_MOMENT
from curvestep.directions._base import MOMENTUM as MOMENTUM
from curvestep.directions._base import SECOND_MOMENT as SECOND_MOMENT
from curvestep.directions._base import STEP as STEP
from curvestep.directions._base import Corrections as Corrections
from curvestep.directions._base import Direction as Direction
from curvestep.directions._base import Proposal as Proposal
from curvestep.directions._base import State as State
from curvestep.directions.adam import Adam as Adam
from curvestep.directions.gradient import Gradient as Gradient
from curvestep.directions.heavy_ball import HeavyBall as HeavyBall
from curvestep.directions.nesterov import Nesterov as Nesterov
from curvestep.directions.rmsprop import RMSprop as RMSprop

__all__ = [
    "FIRST_MOMENT",
    "MOMENTUM",
    "SECOND_MOMENT",
    "STEP",
    "Adam",
    "Corrections",
    "Direction",
    "Gradient",
    "HeavyBall",
    "Nesterov",
    "Proposal",
    "RMSprop",
    "State",
]
