"""Methods that the source's figures ask for beside the others: other β₃, momentum, annealing, a rival's schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from curvestep.bench.methods.baselines import scheduled, sgd
from curvestep.bench.methods.method import BuildRequest, Built, Method

if TYPE_CHECKING:
    from torch.optim import Optimizer

#: The values of figure 5 besides the default of 0.9.
BETA3 = (0.0, 0.5, 0.99)
_MOMENTUM = 0.9
# Exponent of the decay over the steps, as in Step-Tuned SGD's source: Σ τ_k = ∞ and Σ τ_k² < ∞.
_ROBBINS_MONRO = 0.501


def _red(optimizer: str, **options: Any) -> Callable[[BuildRequest], Built]:
    """ℓ falls by half over the epochs."""

    def build(request: BuildRequest) -> Built:
        import curvestep

        make: Callable[..., Any] = getattr(curvestep, optimizer)
        made = make(request.parameters, weight_decay=request.weight_decay, **options)
        return Built(made, made, epoch_scheduler=curvestep.schedules.red(made, request.epochs))

    return build


def _ran_rmsprop(request: BuildRequest) -> Built:
    """ℓ in cycles of 1, ½ and 2 along RMSprop's direction."""
    import curvestep

    made = curvestep.RescaledRMSprop(request.parameters, weight_decay=request.weight_decay)
    return Built(made, made, epoch_scheduler=curvestep.schedules.ran(made))


def _half(request: BuildRequest) -> Built:
    """ℓ = ½ throughout."""
    import curvestep

    made = curvestep.RescaledSGD(request.parameters, lr=0.5, weight_decay=request.weight_decay)
    return Built(made, made)


def _half_cosine(request: BuildRequest) -> Built:
    """ℓ from ½ to 0 along half a cosine over the steps."""
    from torch.optim.lr_scheduler import LambdaLR

    built = _half(request)
    steps = request.steps
    fall = LambdaLR(built.optimizer, lambda step: 0.5 * (1.0 + math.cos(math.pi * step / steps)))
    return Built(built.optimizer, built.reporter, step_scheduler=fall)


def _robbins_monro(request: BuildRequest) -> Built:
    """τ_k = τ₀ / (k + 1)^0.501, k counting steps from 0."""
    from torch.optim.lr_scheduler import LambdaLR

    optimizer = sgd(request)
    return Built(optimizer, step_scheduler=LambdaLR(optimizer, lambda step: (step + 1.0) ** -_ROBBINS_MONRO))


def _sgd_momentum(request: BuildRequest) -> Built:
    """torch's SGD with ĝ ← 0.9 ĝ + 0.1 g, which torch starts at the first gradient."""
    from curvestep.bench.methods.watched import watched_sgd

    return _watched(watched_sgd(request, _MOMENTUM), request)


def _adam_momentum(request: BuildRequest) -> Built:
    """torch's Adam, β = (0.9, 0.999), λ inside the loss."""
    from curvestep.bench.methods.watched import watched_adam

    return _watched(watched_adam(request, _MOMENTUM), request)


def _watched(optimizer: Optimizer, request: BuildRequest) -> Built:
    """With the schedule that was asked for; the optimizer says the slope of its steps."""
    built = scheduled(optimizer, request)
    reporter: Any = optimizer
    return Built(optimizer, reporter, built.step_scheduler, built.epoch_scheduler)


PAPER: tuple[Method, ...] = (
    Method("ran-rmsprop", "RMSprop direction, curvature rescaling, ℓ in cycles of 1, ½ and 2", False, _ran_rmsprop),
    *(
        Method(f"red-sgd-{beta3:g}", f"red-sgd with β₃ = {beta3:g}", False, _red("RescaledSGD", beta3=beta3))
        for beta3 in BETA3
    ),
    Method(
        "red-sgd-heavy", "gradient with momentum 0.9, ℓ from 1 to ½", False, _red("RescaledSGD", momentum=_MOMENTUM)
    ),
    Method(
        "red-adam-heavy",
        "Adam's direction with β = (0.9, 0.999), ℓ from 1 to ½",
        False,
        _red("RescaledAdam", betas=(_MOMENTUM, 0.999)),
    ),
    Method(
        "red-adam-tenth",
        "the same with ℓ from 0.1 to 0.05",
        False,
        _red("RescaledAdam", lr=1.0 - _MOMENTUM, betas=(_MOMENTUM, 0.999)),
    ),
    Method("half-sgd", "gradient, curvature rescaling, ℓ = ½ throughout", False, _half),
    Method("half-sgd-cosine", "gradient, curvature rescaling, ℓ from ½ to 0 along half a cosine", False, _half_cosine),
    Method("sgd-momentum", "torch's SGD, momentum 0.9 as an average; needs --lr", True, _sgd_momentum),
    Method("adam-momentum", "torch's Adam, β=(0.9, 0.999), λ in the loss; needs --lr", True, _adam_momentum),
    Method(
        "sgd-robbins-monro",
        "SGD with a rate of τ₀/(k+1)^0.501 at step k; needs --lr",
        needs_lr=True,
        build=_robbins_monro,
        takes_schedule=False,
    ),
)
