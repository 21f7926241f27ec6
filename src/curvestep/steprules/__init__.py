"""Step rules: how far the parameters move. Each is a frozen dataclass of one method over a ``Probe``."""

from __future__ import annotations

from curvestep._probe import LineSample as LineSample
from curvestep._probe import Need as Need
from curvestep._probe import Probe as Probe
from curvestep._window import WindowNeed as WindowNeed
from curvestep._window import WindowReading as WindowReading
from curvestep.steprules._base import LineRequest as LineRequest
from curvestep.steprules._base import RuleState as RuleState
from curvestep.steprules._base import StepChoice as StepChoice
from curvestep.steprules._base import StepRule as StepRule
from curvestep.steprules.ceiling import Ceiling as Ceiling
from curvestep.steprules.constant import Constant as Constant
from curvestep.steprules.curvature_rescaling import CurvatureRescaling as CurvatureRescaling
from curvestep.steprules.curvature_rescaling import Slope as Slope
from curvestep.steprules.exponentiated_gradient import ExponentiatedScale as ExponentiatedScale
from curvestep.steprules.guard import Guard as Guard
from curvestep.steprules.lazy import Lazy as Lazy
from curvestep.steprules.local_quadratic import Batch as Batch
from curvestep.steprules.local_quadratic import LocalQuadratic as LocalQuadratic
from curvestep.steprules.noise_balance import NoiseBalance as NoiseBalance
from curvestep.steprules.polyak import Polyak as Polyak
from curvestep.steprules.step_tuned import StepTuned as StepTuned
from curvestep.steprules.trial import Trial as Trial
from curvestep.steprules.windows import WindowRule as WindowRule
from curvestep.steprules.windows import Windows as Windows

__all__ = [
    "Batch",
    "Ceiling",
    "Constant",
    "CurvatureRescaling",
    "ExponentiatedScale",
    "Guard",
    "Lazy",
    "LineRequest",
    "LineSample",
    "LocalQuadratic",
    "Need",
    "NoiseBalance",
    "Polyak",
    "Probe",
    "RuleState",
    "Slope",
    "StepChoice",
    "StepRule",
    "StepTuned",
    "Trial",
    "WindowNeed",
    "WindowReading",
    "WindowRule",
    "Windows",
]
