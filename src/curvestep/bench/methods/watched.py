"""torch's optimizers with momentum that say whether they went downhill on the batch of the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from curvestep._records import Outcome, StepRecord

if TYPE_CHECKING:
    from curvestep.bench.methods.method import BuildRequest


class _Watching:
    """The slope ⟨g, d⟩ of a step θ ← θ − τ d, from the parameters before and after it."""

    param_groups: list[dict[str, Any]]
    last_step: StepRecord | None = None

    def _watch(self, step: Callable[[], object], closure: Callable[[], Any] | None) -> Any:
        """One step, with the closure called before it."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        group = self.param_groups[0]
        moving = [parameter for parameter in group["params"] if parameter.grad is not None]
        before = [parameter.detach().clone() for parameter in moving]
        step()
        slope = torch.zeros(())
        with torch.no_grad():
            for parameter, old in zip(moving, before, strict=True):
                assert parameter.grad is not None, "It had one before the step."
                gradient = parameter.grad + group["weight_decay"] * old
                slope = slope + (gradient * (old - parameter)).sum(dtype=torch.float64).cpu()
        rate = float(group["lr"])
        # In the group, so that the state has it.
        group["taken"] = group.get("taken", 0) + 1
        value = float(loss.detach()) if isinstance(loss, Tensor) else None
        self.last_step = StepRecord(
            loss=value,
            slope=float(slope) / rate if rate > 0.0 else None,
            curvature=None,
            absolute_curvature=None,
            lipschitz=None,
            rescaling=None,
            ell=rate,
            step_size=rate,
            direction_norm=None,
            outcome=Outcome.TAKEN,
            step=group["taken"],
        )
        return loss


@final
class WatchedSGD(_Watching, torch.optim.SGD):
    """torch.optim.SGD that reports its slope."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step."""
        return self._watch(super().step, closure)


@final
class WatchedAdam(_Watching, torch.optim.Adam):
    """torch.optim.Adam that reports its slope."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step."""
        return self._watch(super().step, closure)


def watched_sgd(request: BuildRequest, momentum: float) -> torch.optim.Optimizer:
    """SGD along an average of the gradients; λ inside the loss."""
    return WatchedSGD(
        request.parameters,
        lr=request.given_lr,
        momentum=momentum,
        dampening=momentum,
        weight_decay=request.weight_decay,
    )


def watched_adam(request: BuildRequest, momentum: float) -> torch.optim.Optimizer:
    """Adam; λ inside the loss."""
    return WatchedAdam(
        request.parameters,
        lr=request.given_lr,
        betas=(momentum, 0.999),
        eps=1e-8,
        weight_decay=request.weight_decay,
    )
