"""What exponentiated-gradient step sizes share: a base optimizer fed with gains times gradients, its update scaled."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.optim import LBFGS, Optimizer
from torch.optim.optimizer import StateDict

from curvestep._errors import CurvestepError
from curvestep._numerics import to_host, working_dtype
from curvestep._records import Outcome
from curvestep.directions import FIRST_MOMENT, STEP
from curvestep.optim._recorded import EFFECTIVE_LR, AbstractRecordedOptimizer
from curvestep.steprules.exponentiated_gradient import ExponentiatedScale, check_range, check_rate

#: Whether there is one scale for all parameters or one for each tensor.
Scope = Literal["global", "tensor"]

#: Names in ``optimizer.state[p]``: the gains, the base's last update, and the tensor's own scale.
GAIN = "gain"
LAST_UPDATE = "last_update"
#: Name in ``state[p]`` (scope "tensor") or in every group (scope "global") of s.
SCALE = "scale"
#: Name in the saved state of the base optimizer's own state.
BASE_STATE = "base_state"


class AbstractExponentiatedGradient(Optimizer, ABC):
    """Base class of optimizers that learn gains and scales around a base optimizer; see `EGStepSize`."""

    last_outcome: Outcome | None

    def __init__(
        self,
        base_optimizer: Optimizer,
        scope: Scope,
        gain_lr: float,
        scale_lr: float,
        decay: float,
        gain_range: tuple[float, float],
        scale_range: tuple[float, float],
        signs: bool,
        directions: bool,
    ) -> None:
        """Wrap the base optimizer; its groups become this optimizer's own."""
        if not isinstance(base_optimizer, Optimizer):
            msg = f"base_optimizer must be a torch optimizer, but {type(base_optimizer).__name__} was given."
            raise ValueError(msg)
        if isinstance(base_optimizer, (LBFGS, AbstractExponentiatedGradient)):
            msg = (
                f"{type(base_optimizer).__name__} cannot be wrapped: it evaluates its closure several times a step, or "
                "learns a scale itself. Give an optimizer that makes one update from p.grad."
            )
            raise ValueError(msg)
        if scope not in get_args(Scope):
            raise ValueError(f"scope must be 'global' or 'tensor', but scope={scope!r} was given.")
        check_rate("gain_lr", gain_lr)
        check_range("gain_range", gain_range)
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"decay is that of a moving average and must lie in [0, 1), but {decay!r} was given.")
        self.base_optimizer = base_optimizer
        self.scope: Scope = scope
        self.gain_lr, self.decay, self.gain_range, self.signs = gain_lr, decay, tuple(gain_range), signs
        self.scale_rule = ExponentiatedScale(scale_lr, scale_range, directions)
        self.last_outcome = None
        super().__init__(base_optimizer.param_groups, {})
        self.param_groups = base_optimizer.param_groups
        for group in self.param_groups:
            group.setdefault(SCALE, 1.0)

    # ------------------------------------------------------------------------------------------------ one step

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Adapt gains and scales to the gradient, and take the base optimizer's step with them.

        Args:
            closure: Clears the gradients, computes the loss, calls ``backward`` on it and returns it. It is called
                once, and recorded where the base optimizer is one that needs it.

        Returns:
            What the closure returned, or None.

        Raises:
            CurvestepError: A gradient is sparse.
        """
        base, returned = self.base_optimizer, None
        if closure is not None:
            with torch.enable_grad():
                if isinstance(base, AbstractRecordedOptimizer):
                    with base.record():
                        returned = closure()
                else:
                    returned = closure()
        with torch.no_grad():
            parameters = [p for g in self.param_groups for p in g["params"] if p.requires_grad and p.grad is not None]
            self.last_outcome = self._take(parameters)
        return returned

    def _take(self, parameters: list[Tensor]) -> Outcome:
        """Carry out one step on the parameters that have a gradient, and say what was done."""
        raw = [_dense_gradient(self, parameter) for parameter in parameters]
        gradients = [gradient.to(working_dtype(gradient.dtype)) for gradient in raw]
        updates = [self.state[p].get(LAST_UPDATE) if p in self.state else None for p in parameters]
        squares, products, update_squares = _products(gradients, updates)
        if not math.isfinite(sum(squares)):
            return Outcome.NON_FINITE_GRADIENT
        if self.scale_rule.rate > 0.0:
            self._advance_scales(parameters, squares, products, update_squares)
        fed = raw if self.gain_lr == 0.0 else self._advance_gains(parameters, gradients)
        before = [p.detach().clone() for p in parameters] if self.scale_rule.rate > 0.0 else []
        try:
            for parameter, gradient in zip(parameters, fed, strict=True):
                parameter.grad = gradient
            self.base_optimizer.step()
        finally:
            for parameter, gradient in zip(parameters, raw, strict=True):
                parameter.grad = gradient
        for parameter, start in zip(parameters, before, strict=False):
            self._scale_update(parameter, start)
        for group in self.param_groups:
            group[EFFECTIVE_LR] = float(group["lr"]) * float(group[SCALE])
        return Outcome.TAKEN

    def _advance_scales(
        self, parameters: list[Tensor], squares: list[float], products: list[float], update_squares: list[float]
    ) -> None:
        """Write s ← s exp(γ ⟨ĝ, û⟩), once for all or tensor by tensor."""
        if self.scope == "global":
            former = float(self.param_groups[0][SCALE])
            scale = self.scale_rule.next(former, sum(products), sum(squares), sum(update_squares))
            for group in self.param_groups:
                group[SCALE] = scale
            return
        for parameter, square, product, update in zip(parameters, squares, products, update_squares, strict=True):
            state = self.state[parameter]
            state[SCALE] = self.scale_rule.next(float(state.get(SCALE, 1.0)), product, square, update)

    def _advance_gains(self, parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """Write p ← p exp(γ sign(g) sign(m)) and m ← β m + (1−β) g, and return p ⊙ g in the parameters' dtype."""
        fed = []
        for parameter, gradient in zip(parameters, gradients, strict=True):
            state = self.state[parameter]
            if GAIN not in state:
                state[STEP] = 0
                state[GAIN], state[FIRST_MOMENT] = torch.ones_like(gradient), torch.zeros_like(gradient)
            average, gain = state[FIRST_MOMENT], state[GAIN]
            if self.signs:
                exponent = gradient.sign().mul_(average.sign())
            else:  # the average is the one before this gradient, and so is its bias correction
                exponent = gradient * average / (1.0 - self.decay ** max(state[STEP], 1))
            gain.mul_(exponent.mul_(self.gain_lr).exp_()).clamp_(*self.gain_range)
            average.lerp_(gradient, 1.0 - self.decay)
            state[STEP] += 1
            fed.append((gain * gradient).to(parameter.dtype))
        return fed

    def _scale_update(self, parameter: Tensor, start: Tensor) -> None:
        """Keep the base's update u = θ − θ' and write θ ← θ − s u; for s = 1 that is θ' bit for bit."""
        state = self.state[parameter]
        wide = working_dtype(parameter.dtype)
        begin, end = start.to(wide), parameter.detach().to(wide)
        state[LAST_UPDATE] = begin - end
        scale = self._scale_of(parameter)
        if scale != 1.0:
            parameter.detach().copy_(torch.lerp(begin, end, scale))

    def _scale_of(self, parameter: Tensor) -> float:
        """Return s for one tensor."""
        if self.scope == "tensor":
            return float(self.state[parameter].get(SCALE, 1.0))
        return float(self.param_groups[0][SCALE])

    # ------------------------------------------------------------------------------------- groups and state_dict

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters to the base optimizer, and so to this one.

        Args:
            param_group: ``{"params": …, option: value, …}``, with the base optimizer's options.
        """
        if any(param_group is group for group in self.base_optimizer.param_groups):
            return  # torch's constructor hands over the base's own groups
        self.base_optimizer.add_param_group(param_group)
        self.param_groups[-1][SCALE] = self.param_groups[0][SCALE]

    def state_dict(self) -> StateDict:
        """Return everything that affects the next step: gains, scales, and the base optimizer's state.

        Returns:
            torch's dictionary with ``base_state`` beside ``state`` and ``param_groups``.
        """
        return {**super().state_dict(), BASE_STATE: self.base_optimizer.state_dict()["state"]}

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Load what ``state_dict()`` returned; the next step is then the one that would have followed, bit for bit.

        Args:
            state_dict: The dictionary, as it was or through ``torch.save`` and ``torch.load(weights_only=True)``.
        """
        groups = state_dict["param_groups"]
        self.base_optimizer.load_state_dict({"state": state_dict[BASE_STATE], "param_groups": groups})
        super().load_state_dict({"state": state_dict["state"], "param_groups": groups})
        self.param_groups = self.base_optimizer.param_groups
        # torch casts state to the parameter's dtype, which for 16-bit parameters would round the float32 buffers.
        indices = [index for group in groups for index in group["params"]]
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        for index, parameter in zip(indices, parameters, strict=True):
            for name, value in state_dict["state"].get(index, {}).items():
                if isinstance(value, Tensor):
                    self.state[parameter][name] = value.detach().to(device=parameter.device, copy=True)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: torch's own three entries, and ours."""
        own = ("base_optimizer", "scope", "gain_lr", "decay", "gain_range", "signs", "scale_rule", "last_outcome")
        return {**super().__getstate__(), **{name: getattr(self, name) for name in own}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled or loaded optimizer, sharing the groups with its base again."""
        super().__setstate__(state)
        if "base_optimizer" in state:
            self.param_groups = self.base_optimizer.param_groups


def _dense_gradient(owner: Optimizer, parameter: Tensor) -> Tensor:
    """Return p.grad, refusing one that is not dense."""
    gradient = parameter.grad
    assert gradient is not None
    if gradient.layout is not torch.strided:
        msg = (
            f"{type(owner).__name__} needs dense gradients, but a parameter of shape {tuple(parameter.shape)} has a "
            f"gradient of layout {gradient.layout}: build the embedding with sparse=False."
        )
        raise CurvestepError(msg)
    return gradient


def _products(gradients: list[Tensor], updates: list[Tensor | None]) -> tuple[list[float], list[float], list[float]]:
    """Return ‖g‖², ⟨g, u⟩ and ‖u‖² tensor by tensor, with one host synchronisation; 0 where there is no u yet."""
    if not gradients:
        return [], [], []
    flat = [
        (g.reshape(-1), (torch.zeros_like(g) if u is None else u).reshape(-1))
        for g, u in zip(gradients, updates, strict=True)
    ]
    found = to_host(*(term for g, u in flat for term in (g.dot(g), g.dot(u), u.dot(u))))
    return found[0::3], found[1::3], found[2::3]
