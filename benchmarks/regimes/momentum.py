"""Momentum: what becomes of a direction of ascent, at three levels of ℓ, and two other models of the loss."""

from __future__ import annotations

from pathlib import Path

from torch import nn

import curvestep
from benchmarks.regimes import plan
from benchmarks.regimes.layers import LayerStepper
from benchmarks.regimes.plan import BETA1, MomentumCase
from benchmarks.regimes.row import RegimeRow
from benchmarks.regimes.span import SpanStepper
from benchmarks.regimes.training import OptimizerStepper, Setting, Stepper, train
from curvestep.bench.networks.specs import DenseSpec, GPTSpec
from curvestep.bench.tasks.shakespeare import CHARACTERS
from curvestep.directions import Adam, Gradient, HeavyBall, RMSprop

_BETA2 = 0.99
_DIGITS_BATCH = 128


def run_momentum(case: MomentumCase, data_dir: Path | None) -> RegimeRow:
    """Make one run.

    Args:
        case: which.
        data_dir: folder of local data sets.

    Returns:
        Its row.
    """
    return train("momentum", case, _setting(case), lambda net: _stepper(case, net), data_dir)


def _setting(case: MomentumCase) -> Setting:
    """Network and data."""
    if case.problem == "digits":
        dense = DenseSpec((64, 64, 32, 10), "tanh")
        return Setting("digits-mlp", _DIGITS_BATCH, plan.DIGITS_STEPS, case.seed, dense.build)
    gpt = GPTSpec(CHARACTERS, plan.GPT_CONTEXT, plan.GPT_BLOCKS, plan.GPT_WIDTH, heads=4)
    return Setting("shakespeare-gpt", plan.GPT_BATCH, plan.GPT_STEPS, case.seed, gpt.build, window=plan.GPT_CONTEXT)


def _stepper(case: MomentumCase, net: nn.Module) -> Stepper:
    """The optimizer, with a constant ℓ and no L2 term."""
    if case.step == "span":
        # The span has the last step in it, and with it the momentum.
        plain = RMSprop(beta2=_BETA2) if case.way == "adam" else Gradient()
        return SpanStepper(net, plain, case.ell)
    if case.step == "layers":
        return LayerStepper(net, Adam(BETA1, _BETA2) if case.way == "adam" else HeavyBall(BETA1), case.ell)
    if case.way == "adam":
        optimizer = curvestep.RescaledAdam(net.parameters(), lr=case.ell, betas=(BETA1, _BETA2), slope=case.step)
    else:
        optimizer = curvestep.RescaledSGD(net.parameters(), lr=case.ell, momentum=BETA1, slope=case.step)
    return OptimizerStepper(optimizer, optimizer)
