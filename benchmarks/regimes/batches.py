"""Small batches: fewer samples than classes, with the memory of features and with a longer average of the curvature."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

import curvestep
from benchmarks.regimes.plan import LONG_AVERAGE, MEMORY, SAMPLES_SEEN, BatchCase
from benchmarks.regimes.row import RegimeRow
from benchmarks.regimes.training import OptimizerStepper, Setting, train
from curvestep.bench.networks.specs import DenseSpec
from curvestep.nn import FeatureMemory

_BETA3 = 0.9


def run_batches(case: BatchCase, data_dir: Path | None) -> RegimeRow:
    """Make one run.

    Args:
        case: which.
        data_dir: folder of local data sets.

    Returns:
        Its row.
    """
    steps = SAMPLES_SEEN // case.size
    setting = Setting("digits-mlp", case.size, steps, case.seed, lambda: network(case))
    return train("batches", case, setting, lambda net: _stepper(case, net, steps), data_dir, targets=_targets)


def network(case: BatchCase) -> nn.Module:
    """The dense network of the digits, with a memory before its last layer where the case has one.

    Args:
        case: which.

    Returns:
        The network with random initial weights from torch's global generator.
    """
    net = DenseSpec((64, 64, 32, 10), "tanh").build()
    assert isinstance(net, nn.Sequential)
    if case.remedy in ("memory", "both"):
        net.insert(len(net) - 1, FeatureMemory(MEMORY))
    return net


def _targets(net: nn.Module, targets: Tensor) -> Tensor:
    """The targets of all rows that the classifier saw."""
    for module in net.children():
        if isinstance(module, FeatureMemory):
            return module.targets(targets)
    return targets


def _stepper(case: BatchCase, net: nn.Module, steps: int) -> OptimizerStepper:
    """The optimizer and its ℓ; the schedules are those of the methods with these names, step by step."""
    if case.method == "auto":
        auto = curvestep.Auto(net.parameters())
        return OptimizerStepper(auto, auto, None)
    beta3 = LONG_AVERAGE if case.remedy in ("average", "both") else _BETA3
    if case.method == "red-sgd":
        optimizer = curvestep.RescaledSGD(net.parameters(), beta3=beta3)
        return OptimizerStepper(
            optimizer, optimizer, curvestep.schedules.exponential(optimizer, steps, start=1.0, end=0.5)
        )
    optimizer = curvestep.RescaledAdam(net.parameters(), beta3=beta3)
    return OptimizerStepper(optimizer, optimizer, curvestep.schedules.linear(optimizer, steps, start=1.0, end=0.05))
