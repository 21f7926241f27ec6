"""The methods to compare with: torch's own optimizers, each with a learning rate to give."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from curvestep.bench.methods.method import BuildRequest, Built, Method

if TYPE_CHECKING:
    from torch.optim import Optimizer


def sgd(request: BuildRequest) -> Optimizer:
    """Plain gradient descent; λ inside the loss."""
    import torch

    return torch.optim.SGD(request.parameters, lr=request.given_lr, weight_decay=request.weight_decay)


def rmsprop(request: BuildRequest) -> Optimizer:
    """RMSprop with bias correction, the benchmark's Algorithm 3 with r = 1; λ inside the loss."""
    import torch

    # Adam without momentum is that. torch.optim.RMSprop does not correct its average, which starts at zero, so that
    # its first steps would be longer by 1/√(1-β₂), 32 times.

    return torch.optim.Adam(
        request.parameters, lr=request.given_lr, betas=(0.0, 0.999), eps=1e-8, weight_decay=request.weight_decay
    )


def adamw(request: BuildRequest) -> Optimizer:
    """AdamW; its weight decay λ is the decoupled one."""
    import torch

    return torch.optim.AdamW(
        request.parameters, lr=request.given_lr, betas=(0.9, 0.99), weight_decay=request.weight_decay
    )


def scheduled(optimizer: Optimizer, request: BuildRequest) -> Built:
    """The optimizer with the schedule that was asked for."""
    from torch.optim.lr_scheduler import ExponentialLR, LambdaLR

    if request.schedule == "cosine":
        warmup, steps = request.warmup, request.steps
        return Built(optimizer, step_scheduler=LambdaLR(optimizer, lambda step: cosine_factor(step, warmup, steps)))
    if request.decay != 1.0:
        return Built(optimizer, epoch_scheduler=ExponentialLR(optimizer, gamma=request.decay))
    return Built(optimizer)


def cosine_factor(step: int, warmup: int, steps: int) -> float:
    """Return the factor on the learning rate: a line up to 1 over the warm-up, then half a cosine down to 0.

    Example:
        >>> [cosine_factor(step, warmup=2, steps=6) for step in (0, 1, 2, 4, 6)]
        [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def _with_schedule(make: Callable[[BuildRequest], Optimizer]) -> Callable[[BuildRequest], Built]:
    """The builder of a row."""
    return lambda request: scheduled(make(request), request)


SGD = Method("sgd", "torch's SGD, plain; needs --lr", True, _with_schedule(sgd))
RMSPROP = Method(
    "rmsprop", "RMSprop with bias correction (torch's Adam, β₁=0, β₂=0.999); needs --lr", True, _with_schedule(rmsprop)
)
ADAMW = Method("adamw", "torch's AdamW, β=(0.9, 0.99); needs --lr", True, _with_schedule(adamw))
