"""The database of optimizers: what each is made with, what it can do, and what it refuses. The laws loop over it.

A new optimizer is one row here. Tests never ask for a method's name; they ask its row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from curvestep.optim import (
    ALIG,
    EGDD,
    LQA,
    AbstractRecordedOptimizer,
    Auto,
    BalancedAdam,
    EGStepSize,
    GeN,
    RescaledAdam,
    RescaledRMSprop,
    RescaledSGD,
    StepTunedSGD,
)

Options = dict[str, Any]


@dataclass(frozen=True)
class Refusal:
    """Options that must be refused with a ``ValueError`` whose message matches."""

    options: Options
    message: str


@dataclass(frozen=True)
class Method:
    """One optimizer."""

    make: Callable[..., AbstractRecordedOptimizer]
    variants: dict[str, Options]  # what is special about it → the options
    refusals: tuple[Refusal, ...]
    learns: Options  # options under which a small noisy problem is learnt by all variants
    state_per_parameter: dict[str, tuple[str, ...]]  # variant → tensors it keeps
    eps: Options = field(default_factory=dict)  # options that make the step free of a unit of its own
    rescales: bool = True  # a step is τ d with τ = ℓ r, no longer than max_relative_step allows
    curvature: bool = True  # the curvature is measured, and one that is not finite stops the step
    scale_free: bool = True  # with the options in eps, multiplying the loss changes no step
    joint: tuple[str, ...] = ()  # options that act on all parameters together, those without a gradient included

    patience: int = 1  # how many times the usual number of steps it takes to learn the noisy problem
    level: str | None = "lr"  # the argument that becomes a group's lr; None: only a group can be given one

    late: Options = field(default_factory=dict)  # options with which nothing is measured before there was a step
    decays: tuple[str, ...] = ("weight_decay", "decoupled_weight_decay")
    group_options: bool = True  # its options can be given to a single group
    still: bool = True  # a gradient of zero changes nothing
    wide: bool = True  # all of its state is kept in float32 or wider

    def measures_at_once(self, options: Options) -> bool:
        """Whether the first step already looks at the curvature."""
        return self.curvature and not any(options.get(name) == value for name, value in self.late.items())

    def at_level(self, params: Any, options: Options, lr: float) -> AbstractRecordedOptimizer:
        """The optimizer at a level."""
        if self.level is not None:
            return self.make(params, **{**options, self.level: lr})
        return self.make([{"params": list(params), "lr": lr}], **options)

    def as_group(self, options: Options) -> Options:
        """The options under the names that a parameter group has for them."""
        return {"lr" if name == self.level else name: value for name, value in options.items()}

    def without_decay(self, options: Options) -> Options:
        """The options with every weight decay at 0."""
        return {**options, **dict.fromkeys(self.decays, 0.0)}

    def is_joint(self, options: Options) -> bool:
        """Whether parameters without a gradient take part too."""
        return any(name in options for name in self.joint)


_SHARED_VARIANTS: dict[str, Options] = {
    "plain": {},
    "level one half": {"lr": 0.5},
    "no curvature average": {"beta3": 0.0},
    "L2": {"weight_decay": 0.01},
    "decoupled decay": {"decoupled_weight_decay": 0.01},
    "tight cap": {"max_relative_step": 0.05},
    "floor": {"floor": 0.5},
    "band": {"band": (1e-3, 2.0, 0.75)},
    "guard": {"guard_every": 1},
    "lazy guard": {"guard_every": 3, "lr": 0.5},
    "Gauss-Newton": {"curvature_kind": "ggn", "lr": 0.5},
    "half the samples": {"curvature_samples": 0.5, "lr": 0.5},
    "held curvature": {"curvature_every": 3, "max_relative_step": 0.05},
    "averaged": {"averaging": 8.0},
}

_SHARED_REFUSALS = (
    Refusal({"curvature_kind": "hessian"}, r"curvature_kind='hessian' was given"),
    Refusal({"curvature_samples": 0}, r"curvature_samples=0 was given"),
    Refusal({"curvature_samples": 1.5}, r"curvature_samples=1\.5 was given"),
    Refusal({"curvature_every": 0}, r"whole number of at least 1, but 0 was given"),
    Refusal({"averaging": -1.0}, r"averaging=-1\.0 was given"),
    Refusal({"lr": -1.0}, r"lr is the level .* but lr=-1\.0 was given"),
    Refusal({"lr": float("nan")}, r"lr=nan was given"),
    Refusal({"lr": float("inf")}, r"lr=inf was given"),
    Refusal({"lr": "fast"}, r"lr='fast' was given"),
    Refusal({"beta3": 1.0}, r"beta3 .* \[0, 1\), but beta3=1\.0 was given"),
    Refusal({"beta3": -0.1}, r"beta3=-0\.1 was given"),
    Refusal({"weight_decay": -1e-4}, r"weight_decay=-0\.0001 was given"),
    Refusal({"decoupled_weight_decay": float("inf")}, r"decoupled_weight_decay=inf was given"),
    Refusal({"max_relative_step": 0.0}, r"max_relative_step=0\.0 was given"),
    Refusal({"max_relative_step": float("inf")}, r"max_relative_step=inf was given"),
    Refusal({"floor": -1.0}, r"floor=-1\.0 was given"),
    Refusal({"band": (2.0, 1.0, 0.75)}, r"band=\(2\.0, 1\.0, 0\.75\) was given"),
    Refusal({"guard_every": -1}, r"guard_every=-1 was given"),
    Refusal({"guard_every": 0.5}, r"guard_every=0\.5 was given"),
)


def _step_tuned(params: Any, rate: float = 0.5, **options: Any) -> StepTunedSGD:
    """The one method that has no learning rate of its own."""
    return StepTunedSGD(params, rate, **options)


def _egdd(params: Any, rate: float = 0.05, **options: Any) -> EGDD:
    """The published form, which has no learning rate of its own."""
    return EGDD(params, rate, **options)


def _exponentiated(params: Any, lr: float = 0.1, **options: Any) -> EGStepSize:
    """Around gradient descent."""
    return EGStepSize(torch.optim.SGD(params, lr=lr), **options)


def _around_adam(params: Any, lr: float = 0.01, **options: Any) -> EGStepSize:
    """Around an optimizer of torch that keeps a state."""
    return EGStepSize(torch.optim.Adam(params, lr=lr, eps=1e-4), **options)


def _around_measured(params: Any, lr: float = 0.1, **options: Any) -> EGStepSize:
    """Around an optimizer that measures its step."""
    return EGStepSize(RescaledAdam(params, lr=lr), **options)


_EXPONENTIATED_REFUSALS = (
    Refusal({"scope": "layer"}, r"scope='layer' was given"),
    Refusal({"gain_lr": -1.0}, r"gain_lr .* but -1\.0 was given"),
    Refusal({"decay": 1.0}, r"\[0, 1\), but 1\.0 was given"),
    Refusal({"gain_range": (2.0, 3.0)}, r"gain_range=\(2\.0, 3\.0\) was given"),
    Refusal({"scale_range": (0.0, 1.0)}, r"scale_range=\(0\.0, 1\.0\) was given"),
)

METHODS: dict[str, Method] = {
    "Auto": Method(
        make=Auto,
        variants={"plain": {}, "L2": {"weight_decay": 0.01}, "decoupled decay": {"decoupled_weight_decay": 0.01}},
        refusals=(
            Refusal({"weight_decay": -1e-4}, r"weight_decay=-0\.0001 was given"),
            Refusal({"decoupled_weight_decay": float("inf")}, r"decoupled_weight_decay=inf was given"),
        ),
        learns={},
        state_per_parameter={"plain": ("average", "exp_avg", "exp_avg_sq")},
        scale_free=False,  # the ε of Adam's direction cannot be chosen
        level=None,
        patience=5,  # the ceiling rises over the first hundred steps
    ),
    "BalancedAdam": Method(
        make=BalancedAdam,
        variants={
            "plain": {},
            "short windows": {"window_growth": 1.0, "window_offset": 3, "weight_decay": 0.01},
            "unbounded": {"bounded": False, "decoupled_weight_decay": 0.01},
        },
        refusals=(
            Refusal({"lr": -1.0}, r"lr=-1\.0 was given"),
            Refusal({"betas": (1.0, 0.99)}, r"beta1=1\.0 was given"),
            Refusal({"eps": -1e-8}, r"eps=-1e-08 was given"),
            Refusal({"target": 0.0}, r"target=0\.0 was given"),
            Refusal({"averaging": -1.0}, r"averaging=-1\.0 was given"),
            Refusal({"window_growth": 0.5}, r"factor from one window's end .* but 0\.5 was given"),
            Refusal({"window_offset": 0}, r"whole number of at least 1, but 0 was given"),
            Refusal({"weight_decay": -1e-4}, r"weight_decay=-0\.0001 was given"),
            Refusal({"decoupled_weight_decay": float("inf")}, r"decoupled_weight_decay=inf was given"),
        ),
        learns={},
        state_per_parameter={"plain": ("average", "exp_avg", "exp_avg_sq", "window_start")},
        eps={"eps": 0.0},
        patience=2,
    ),
    "RescaledSGD": Method(
        make=RescaledSGD,
        variants={
            **_SHARED_VARIANTS,
            "momentum": {"momentum": 0.9, "lr": 0.1},
            "smoothed slope": {"momentum": 0.9, "lr": 0.1, "slope": "smoothed"},
        },
        refusals=(*_SHARED_REFUSALS, Refusal({"momentum": 1.0}, r"momentum=1\.0 was given")),
        learns={"lr": 0.1},
        state_per_parameter={"plain": (), "momentum": ("exp_avg",)},
    ),
    "RescaledRMSprop": Method(
        make=RescaledRMSprop,
        variants={**_SHARED_VARIANTS, "short memory": {"beta2": 0.5}},
        refusals=(
            *_SHARED_REFUSALS,
            Refusal({"beta2": 1.5}, r"beta2=1\.5 was given"),
            Refusal({"eps": -1e-8}, r"eps=-1e-08 was given"),
        ),
        learns={"lr": 0.5},
        state_per_parameter={"plain": ("exp_avg_sq",)},
        eps={"eps": 0.0},
    ),
    "RescaledAdam": Method(
        make=RescaledAdam,
        variants={**_SHARED_VARIANTS, "other betas": {"betas": (0.5, 0.999)}, "smoothed slope": {"slope": "smoothed"}},
        refusals=(
            *_SHARED_REFUSALS,
            Refusal({"betas": (1.0, 0.99)}, r"beta1=1\.0 was given"),
            Refusal({"betas": (0.9, -0.5)}, r"beta2=-0\.5 was given"),
            Refusal({"betas": 0.9}, r"pair of the decay rates .* betas=0\.9 was given"),
            Refusal({"eps": float("nan")}, r"eps=nan was given"),
            Refusal({"slope": "steep"}, r"slope='steep' was given"),
        ),
        learns={"lr": 0.1},  # Appendix C.1: 1 − β₁ is the level at which momentum keeps descending
        state_per_parameter={"plain": ("exp_avg", "exp_avg_sq")},
        eps={"eps": 0.0},
    ),
    "ALIG": Method(
        make=ALIG,
        variants={
            "plain": {},
            "no cap": {"cap": None},
            "tight cap": {"cap": 0.1},
            "momentum": {"momentum": 0.5},
            "adjusted momentum": {"momentum": 0.5, "adjusted": True},
            "ball": {"max_norm": 1.0},
            "lower bound": {"lower_bound": 0.1},
        },
        refusals=(
            Refusal({"cap": -1.0}, r"cap \(lr in a group\) is η, .* but -1\.0 was given"),
            Refusal({"cap": float("nan")}, r"but nan was given"),
            Refusal({"cap": "fast"}, r"but 'fast' was given"),
            Refusal({"momentum": 1.0}, r"momentum=1\.0 was given"),
            Refusal({"adjusted": "yes"}, r"True or False, but 'yes' was given"),
            Refusal({"max_norm": 0.0}, r"max_norm=0\.0 was given"),
            Refusal({"max_norm": float("inf")}, r"max_norm=inf was given"),
            Refusal({"lower_bound": float("nan")}, r"lower_bound .* but nan was given"),
            Refusal({"eps": -1e-5}, r"eps=-1e-05 was given"),
        ),
        learns={"cap": 0.5, "max_norm": 4.0},  # this problem's loss does not fall to 0 inside the smaller ball
        state_per_parameter={"plain": (), "momentum": ("momentum_buffer",)},
        eps={"eps": 0.0, "cap": None},
        rescales=False,
        curvature=False,
        level="cap",
        joint=("max_norm",),
        decays=(),
    ),
    "StepTunedSGD": Method(
        make=_step_tuned,
        variants={
            "plain": {},
            "L2": {"weight_decay": 0.01},
            "wide range": {"factor_range": (0.1, 10.0), "delta": 0.1},
        },
        refusals=(
            Refusal({"rate": -1.0}, r"rate \(lr in a group\) is α, .* but -1\.0 was given"),
            Refusal({"rate": float("inf")}, r"but inf was given"),
            Refusal({"decay": 1.0}, r"decay=1\.0 was given"),
            Refusal({"fallback": 0.0}, r"fallback .* but 0\.0 was given"),
            Refusal({"factor_range": (2.0, 0.5)}, r"low=2\.0 and high=0\.5 were given"),
            Refusal({"factor_range": 2.0}, r"pair of the least and the largest factor, but 2\.0 was given"),
            Refusal({"delta": 0.6}, r"delta=0\.6 was given"),
            Refusal({"weight_decay": -1.0}, r"weight_decay=-1\.0 was given"),
        ),
        learns={"rate": 0.3},
        state_per_parameter={"plain": ("exp_avg",)},
        rescales=False,
        curvature=False,
        scale_free=False,
        level="rate",
        decays=("weight_decay",),
    ),
    "LQA": Method(
        make=LQA,
        variants={
            "plain": {},
            "level one": {"lr": 1.0},
            "heavy ball": {"direction": "heavy_ball", "lr": 0.1},
            "adam": {"direction": "adam", "lr": 0.1},
            "L2": {"weight_decay": 0.01},
            "decoupled decay": {"decoupled_weight_decay": 0.01},
            "lazy and smoothed": {"every": 3, "smoothing": 0.5},
            "next batch": {"batch": "next", "initial_step": 0.05},
        },
        refusals=(
            Refusal({"lr": -1.0}, r"lr=-1\.0 was given"),
            Refusal({"direction": "newton"}, r"direction='newton' was given"),
            Refusal({"direction": "heavy_ball", "momentum": 1.0}, r"momentum=1\.0 was given"),
            Refusal({"betas": 0.9}, r"pair of the decay rates .* betas=0\.9 was given"),
            Refusal({"probe": 0.0}, r"probe=0\.0 was given"),
            Refusal({"every": 0}, r"whole number of at least 1, but 0 was given"),
            Refusal({"batch": "fresh", "initial_step": 0.1}, r"batch='fresh' was given"),
            Refusal({"batch": "next"}, r"needs one to begin with: give initial"),
            Refusal({"smoothing": 1.0}, r"smoothing .* but 1\.0 was given"),
            Refusal({"change": (2.0, 3.0)}, r"change=\(2\.0, 3\.0\) was given"),
            Refusal({"initial_step": 0.0}, r"initial .* but 0\.0 was given"),
            Refusal({"weight_decay": -1.0}, r"weight_decay=-1\.0 was given"),
        ),
        learns={"lr": 0.1},
        state_per_parameter={
            "plain": (),
            "heavy ball": ("exp_avg",),
            "adam": ("exp_avg", "exp_avg_sq"),
            "next batch": ("last_step",),
        },
        eps={"eps": 0.0},
        late={"batch": "next"},
    ),
    "GeN": Method(
        make=GeN,
        variants={
            "plain": {},
            "every step": {"every": 1, "initial_step": 0.01},
            "same batch": {"batch": "same", "every": 2, "initial_step": 0.01},
        },
        refusals=(
            Refusal({"initial_step": 0.0}, r"initial .* but 0\.0 was given"),
            Refusal({"betas": (1.0, 0.9)}, r"beta1=1\.0 was given"),
            Refusal({"every": 0}, r"whole number of at least 1, but 0 was given"),
            Refusal({"decoupled_weight_decay": -1.0}, r"decoupled_weight_decay=-1\.0 was given"),
        ),
        learns={"initial_step": 0.03},
        state_per_parameter={"plain": ("exp_avg", "exp_avg_sq", "last_step")},
        eps={"eps": 0.0},
        curvature=False,
        decays=("decoupled_weight_decay",),
    ),
    "EGStepSize": Method(
        make=_exponentiated,
        variants={
            "plain": {},
            "a scale for each tensor": {"scope": "tensor", "scale_lr": 0.1},
            "products": {"signs": False, "directions": False},
            "gains alone": {"scale_lr": 0.0},
            "scales alone": {"gain_lr": 0.0},
        },
        refusals=_EXPONENTIATED_REFUSALS,
        learns={"lr": 0.3},
        state_per_parameter={
            "plain": ("gain", "gradient_average", "last_update"),
            "gains alone": ("gain", "gradient_average"),
            "scales alone": ("last_update",),
        },
        rescales=False,
        curvature=False,
        scale_free=False,
        decays=(),
        group_options=False,
        still=False,
    ),
    "EGStepSize around Adam": Method(
        make=_around_adam,
        variants={"plain": {}},
        refusals=(),
        learns={},
        state_per_parameter={"plain": ("gain", "gradient_average", "last_update", "step", "exp_avg", "exp_avg_sq")},
        rescales=False,
        curvature=False,
        scale_free=False,
        decays=(),
        group_options=False,
        still=False,
        wide=False,
    ),
    "EGStepSize around RescaledAdam": Method(
        make=_around_measured,
        variants={"plain": {}},
        refusals=(),
        learns={},
        state_per_parameter={"plain": ("gain", "gradient_average", "last_update", "exp_avg", "exp_avg_sq")},
        rescales=False,
        scale_free=False,
        decays=(),
        group_options=False,
    ),
    "EGDD": Method(
        make=_egdd,
        variants={"plain": {}, "products": {"signs": False}},
        refusals=_EXPONENTIATED_REFUSALS[1:],
        learns={"rate": 0.05},
        state_per_parameter={"plain": ("gain", "gradient_average", "last_update", "momentum_buffer")},
        rescales=False,
        curvature=False,
        scale_free=False,
        level="rate",
        decays=(),
        group_options=False,
        still=False,
        wide=False,
    ),
}

#: Every method with every one of its variants, and the names under which pytest shows them.
CASES = [(method, options) for method in METHODS.values() for options in method.variants.values()]
CASE_IDS = [f"{name}-{variant}" for name, method in METHODS.items() for variant in method.variants]
