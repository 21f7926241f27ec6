"""The table of methods: one row a method; the rows' builders import torch when they are called."""

from __future__ import annotations

from curvestep.bench.methods.alig import ALIG, ALIG_MOMENTUM
from curvestep.bench.methods.auto import AUTO, AUTO_UNCURVED, HALF_ADAM_AVERAGED
from curvestep.bench.methods.baselines import ADAMW, RMSPROP, SGD
from curvestep.bench.methods.exponentiated import EG_ADAM, EG_SGD, EGDD
from curvestep.bench.methods.measured import MEASURED
from curvestep.bench.methods.method import Method
from curvestep.bench.methods.parabola import GEN, LQA
from curvestep.bench.methods.rescaled import (
    HALF_ADAM,
    HALF_ADAM_GUARD,
    RAN_SGD,
    RED_ADAM,
    RED_ADAM_GEOMETRIC,
    RED_ADAM_GGN,
    RED_ADAM_GUARD,
    RED_ADAM_SMOOTHED,
    RED_RMSPROP,
    RED_SGD,
    RED_SGD_GGN,
    RED_SGD_MOMENTUM,
)
from curvestep.bench.methods.step_tuned import STEP_TUNED
from curvestep.bench.names import named

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        AUTO,
        RED_SGD,
        RED_RMSPROP,
        RED_ADAM,
        RED_ADAM_GEOMETRIC,
        RED_ADAM_GUARD,
        RED_ADAM_SMOOTHED,
        RED_SGD_GGN,
        RED_ADAM_GGN,
        RED_SGD_MOMENTUM,
        HALF_ADAM,
        HALF_ADAM_GUARD,
        HALF_ADAM_AVERAGED,
        AUTO_UNCURVED,
        *MEASURED,
        RAN_SGD,
        ALIG,
        ALIG_MOMENTUM,
        LQA,
        GEN,
        STEP_TUNED,
        SGD,
        RMSPROP,
        ADAMW,
        EG_SGD,
        EG_ADAM,
        EGDD,
    )
}


def get_method(name: str) -> Method:
    """The method of this name, as ``curvestep methods`` lists it; SettingError if there is none."""
    return named("method", name, METHODS)
