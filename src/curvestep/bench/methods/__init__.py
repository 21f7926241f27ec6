"""The table of methods: one row a method; the rows' builders import torch when they are called."""

from __future__ import annotations

from curvestep.bench.methods.alig import ALIG, ALIG_MOMENTUM
from curvestep.bench.methods.auto import AUTO, AUTO_CEILING, AUTO_UNCURVED, HALF_ADAM_AVERAGED
from curvestep.bench.methods.baselines import ADAMW, RMSPROP, SGD
from curvestep.bench.methods.exponentiated import EG_ADAM, EG_SGD, EGDD
from curvestep.bench.methods.measured import MEASURED
from curvestep.bench.methods.method import Method
from curvestep.bench.methods.paper import PAPER
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

#: What `curvestep methods` shows, in its order.
GROUPS: dict[str, tuple[Method, ...]] = {
    "recommended": (AUTO,),
    "of the source": (RED_SGD, RED_RMSPROP, RED_ADAM, RED_SGD_MOMENTUM, RAN_SGD, HALF_ADAM),
    "peers": (ALIG, ALIG_MOMENTUM, LQA, GEN, STEP_TUNED, SGD, RMSPROP, ADAMW, EG_SGD, EG_ADAM, EGDD),
    "ablations": (
        *(AUTO_CEILING, AUTO_UNCURVED, *MEASURED, RED_SGD_GGN, RED_ADAM_GGN, RED_ADAM_GEOMETRIC, RED_ADAM_GUARD),
        *(RED_ADAM_SMOOTHED, HALF_ADAM_GUARD, HALF_ADAM_AVERAGED),
    ),
    "figures of the source": PAPER,
}
METHODS: dict[str, Method] = {method.name: method for group in GROUPS.values() for method in group}


def get_method(name: str) -> Method:
    """The method of this name, as ``curvestep methods`` lists it; SettingError if there is none."""
    return named("method", name, METHODS)
