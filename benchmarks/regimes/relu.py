"""ReLU: a network whose second derivative is zero almost everywhere inside, beside its smooth twin."""

from __future__ import annotations

from pathlib import Path

from torch import nn

import curvestep
from benchmarks.regimes.plan import (
    LARGE_DECAY,
    RELU_BATCH,
    RELU_IMAGES,
    RELU_STEPS,
    RELU_WIDTH,
    SMALL_DECAY,
    ReluCase,
)
from benchmarks.regimes.row import RegimeRow
from benchmarks.regimes.training import OptimizerStepper, Setting, train
from curvestep.bench.networks.specs import ResNetSpec, VGG11Spec

_BETA = 5.0  # sharpness of the softplus, as in the source's networks


def run_relu(case: ReluCase, data_dir: Path | None) -> RegimeRow:
    """Make one run.

    Args:
        case: which.
        data_dir: folder of local data sets.

    Returns:
        Its row.
    """
    setting = Setting("cifar10-vgg11", RELU_BATCH, RELU_STEPS, case.seed, lambda: network(case), RELU_IMAGES)
    return train("relu", case, setting, lambda net: _stepper(case, net), data_dir)


def network(case: ReluCase) -> nn.Module:
    """The network of a case; twins start from the same weights.

    Args:
        case: which.

    Returns:
        The network with random initial weights from torch's global generator.
    """
    if case.net == "vgg":
        return VGG11Spec(RELU_WIDTH, 10, beta=None if case.activation == "relu" else _BETA).build()
    net = ResNetSpec(RELU_WIDTH, 1, 10, stem_stride=2, normalised=False).build()
    if case.activation == "softplus":
        _soften(net)
    return net


def _soften(module: nn.Module) -> None:
    """Put a softplus in the place of each ReLU."""
    for name, child in module.named_children():
        if isinstance(child, nn.ReLU):
            setattr(module, name, nn.Softplus(beta=_BETA))
        else:
            _soften(child)


def _stepper(case: ReluCase, net: nn.Module) -> OptimizerStepper:
    """The optimizer and its ℓ."""
    if case.method == "auto":
        auto = curvestep.Auto(net.parameters(), weight_decay=SMALL_DECAY)
        return OptimizerStepper(auto, auto, None)
    falls = case.method == "red-adam"
    decay = LARGE_DECAY if case.form == "floor" else SMALL_DECAY
    optimizer = curvestep.RescaledAdam(
        net.parameters(),
        lr=1.0 if falls else 0.5,
        weight_decay=decay,
        floor=decay if case.form == "floor" else 0.0,
        curvature_kind="ggn" if case.form == "ggn" else "exact",
    )
    scheduler = curvestep.schedules.linear(optimizer, RELU_STEPS, start=1.0, end=0.05) if falls else None
    return OptimizerStepper(optimizer, optimizer, scheduler)
