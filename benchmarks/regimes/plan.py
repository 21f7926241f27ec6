"""Which runs each experiment consists of; fixed before any was made. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

Experiment = Literal["overshoot", "relu", "batches", "momentum"]
EXPERIMENTS: tuple[Experiment, ...] = ("overshoot", "relu", "batches", "momentum")
SEEDS = (0, 1)


# -- overshoot --------------------------------------------------------------------------------------------------------

Surface = Literal["root", "rosenbrock", "quadratic"]

#: A run on a surface ends where the gradient is shorter than this, or after so many steps.
GRADIENT_NORM = 1e-6
SURFACE_STEPS = 100_000


@final
@dataclass(frozen=True)
class OvershootCase:
    """Gradient descent at ℓ = ½ on a surface whose derivatives are written out.

    Args:
        surface: √(1 + θ²) from 1000, Rosenbrock's from (−1.2, 1), or a quadratic of condition 100 with both optimizers.
        guard: the loss is looked at on every so many steps; 0: never.
    """

    surface: Surface
    guard: int


OVERSHOOT = tuple(
    OvershootCase(surface, guard) for surface in ("root", "rosenbrock", "quadratic") for guard in (0, 1, 4)
)


# -- ReLU -------------------------------------------------------------------------------------------------------------

Net = Literal["vgg", "resnet"]
Activation = Literal["relu", "softplus"]
AdamMethod = Literal["red-adam", "half-adam", "auto"]
Form = Literal["exact", "ggn", "floor"]

RELU_STEPS = 200
RELU_BATCH = 64
RELU_IMAGES = 2_000
RELU_WIDTH = 8
#: λ of every run; with the form "floor" L̃ is never below it either, and λ is the larger one of the source.
SMALL_DECAY, LARGE_DECAY = 1e-7, 1e-4


@final
@dataclass(frozen=True)
class ReluCase:
    """A small convolutional network on CIFAR-10, with ReLU or with softplus (β = 5) in the same places.

    Args:
        net: VGG11 or a residual network of three blocks, both from 8 channels and without normalisation.
        activation: which.
        method: Adam's direction, with ℓ falling from 1 to 0.05 along a line or ℓ = ½ throughout; or `curvestep.Auto`.
        form: the exact curvature, its Gauss-Newton form, or the exact one with the floor λ.
        seed: initial weights and order of the batches.
    """

    net: Net
    activation: Activation
    method: AdamMethod
    form: Form
    seed: int


RELU = tuple(
    ReluCase(net, activation, method, form, seed)
    for seed in SEEDS
    for net in ("vgg", "resnet")
    for method in ("red-adam", "half-adam")
    for form in ("exact", "ggn", "floor")
    for activation in ("relu", "softplus")
) + tuple(
    ReluCase(net, activation, "auto", "exact", seed)
    for seed in SEEDS
    for net in ("vgg", "resnet")
    for activation in ("relu", "softplus")
)


# -- small batches ----------------------------------------------------------------------------------------------------

Remedy = Literal["plain", "memory", "average", "both"]
BatchMethod = Literal["red-sgd", "red-adam", "auto"]

SIZES = (256, 32, 8, 4)
SAMPLES_SEEN = 8_192
MEMORY = 256
LONG_AVERAGE = 0.99


@final
@dataclass(frozen=True)
class BatchCase:
    """The digits with small batches; every run sees as many samples.

    Args:
        method: the gradient with ℓ from 1 to ½, Adam's direction with ℓ from 1 to 0.05 along a line, or
            `curvestep.Auto`.
        size: samples in a batch; there are 10 classes.
        remedy: nothing, a memory of 256 features before the last layer, the curvature averaged with β₃ = 0.99 instead
            of 0.9, or both.
        seed: initial weights and order of the batches.
    """

    method: BatchMethod
    size: int
    remedy: Remedy
    seed: int


BATCHES = tuple(
    BatchCase(method, size, remedy, seed)
    for seed in SEEDS
    for method in ("red-sgd", "red-adam")
    for size in SIZES
    for remedy in ("plain", "memory", "average", "both")
) + tuple(BatchCase("auto", size, remedy, seed) for seed in SEEDS for size in SIZES for remedy in ("plain", "memory"))


# -- momentum ---------------------------------------------------------------------------------------------------------

Problem = Literal["digits", "gpt"]
Way = Literal["adam", "sgd"]
Step = Literal["absolute", "signed", "smoothed", "span", "layers"]

BETA1 = 0.9
LEVELS = (1.0, 0.5, 0.1)  # the last is 1 − β₁
DIGITS_STEPS = 300
GPT_STEPS = 150
GPT_BATCH, GPT_CONTEXT, GPT_BLOCKS, GPT_WIDTH = 16, 32, 2, 32


@final
@dataclass(frozen=True)
class MomentumCase:
    """Momentum of 0.9 with a constant ℓ.

    Args:
        problem: the dense network of the digits, or a GPT of 2 blocks and width 32 on characters.
        way: Adam's direction, or the averaged gradient.
        step: what becomes of a direction of ascent (absolute, signed, smoothed); or the minimum of the model on the
            span of (preconditioned) gradient and last step; or an r of its own for each tensor.
        ell: ℓ.
        seed: initial weights and order of the batches.
    """

    problem: Problem
    way: Way
    step: Step
    ell: float
    seed: int


_STEPS: dict[Problem, tuple[Step, ...]] = {
    "digits": ("absolute", "signed", "smoothed", "span", "layers"),
    "gpt": ("absolute", "signed", "smoothed"),
}
_WAYS: tuple[Way, ...] = ("adam", "sgd")
MOMENTUM = tuple(
    MomentumCase(problem, way, step, ell, seed)
    for seed in SEEDS
    for problem, steps in _STEPS.items()
    for way in _WAYS
    for step in steps
    for ell in LEVELS
)

AnyCase = OvershootCase | ReluCase | BatchCase | MomentumCase
CASES: dict[Experiment, tuple[AnyCase, ...]] = {
    "overshoot": OVERSHOOT,
    "relu": RELU,
    "batches": BATCHES,
    "momentum": MOMENTUM,
}
