"""Optimizers: compositions of a direction and a step rule in one ``torch.optim.Optimizer``."""

from __future__ import annotations

from curvestep.optim._composed import AbstractComposedOptimizer as AbstractComposedOptimizer
from curvestep.optim._recorded import AbstractRecordedOptimizer as AbstractRecordedOptimizer
from curvestep.optim._windowed import AbstractWindowedOptimizer as AbstractWindowedOptimizer
from curvestep.optim.alig import ALIG as ALIG
from curvestep.optim.auto import Auto as Auto
from curvestep.optim.eg_step_size import EGStepSize as EGStepSize
from curvestep.optim.egdd import EGDD as EGDD
from curvestep.optim.gen import GeN as GeN
from curvestep.optim.lqa import LQA as LQA
from curvestep.optim.rescaled_adam import RescaledAdam as RescaledAdam
from curvestep.optim.rescaled_rmsprop import RescaledRMSprop as RescaledRMSprop
from curvestep.optim.rescaled_sgd import RescaledSGD as RescaledSGD
from curvestep.optim.step_tuned_sgd import StepTunedSGD as StepTunedSGD

__all__ = [
    "ALIG",
    "Auto",
    "EGDD",
    "EGStepSize",
    "GeN",
    "LQA",
    "AbstractComposedOptimizer",
    "AbstractRecordedOptimizer",
    "AbstractWindowedOptimizer",
    "RescaledAdam",
    "RescaledRMSprop",
    "RescaledSGD",
    "StepTunedSGD",
]
