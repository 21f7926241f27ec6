"""What exponentiated-gradient step sizes share: a base optimizer fed with gains times gradients, its update scaled."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.optim import LBFGS, Optimizer
from torch.optim.optimizer import StateDict

from curvestep._numerics import as_dtype, real, to_host, working_dtype
from curvestep._records import Outcome, StepRecord
from curvestep._shards import any_sharded, counted, local, placed_as
from curvestep.directions._moments import zeros
from curvestep.optim._commit import EFFECTIVE_LR, RULE_STATE, STEPS
from curvestep.optim._gather import dense_gradient
from curvestep.optim._groups import not_steppable
from curvestep.optim._processes import averaged, require_together
from curvestep.optim._proof import Left
from curvestep.optim._recorded import AbstractRecordedOptimizer
from curvestep.optim._recordings import Pending, Recordings
from curvestep.optim._telemetry import OUTCOMES, none_yet
from curvestep.optim._windowed import AbstractWindowedOptimizer
from curvestep.steprules.exponentiated_gradient import ExponentiatedScale, check_range, check_rate

#: Whether there is one scale for all parameters or one for each tensor.
Scope = Literal["global", "tensor"]

#: Names in ``optimizer.state[p]``: the gains, the average of the gradient and its number of terms, the base's last
#: update, and the tensor's own scale. The base's state of the parameter lies beside them.
GAIN = "gain"
GRADIENT_AVERAGE = "gradient_average"
GAIN_STEP = "gain_step"
LAST_UPDATE = "last_update"
#: Name in ``state[p]`` (scope "tensor") or in every group (scope "global") of s.
SCALE = "scale"
_OWN = (GAIN, GRADIENT_AVERAGE, GAIN_STEP, LAST_UPDATE, SCALE)


class AbstractExponentiatedGradient(AbstractRecordedOptimizer, ABC):
    """Base class of optimizers that learn gains and scales around a base optimizer; see `EGStepSize`.

    Groups and state are the base optimizer's own objects, so that what saves one saves both.
    """

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
        """Wrap the base optimizer."""
        if not isinstance(base_optimizer, Optimizer):
            msg = f"base_optimizer must be a torch optimizer, but {type(base_optimizer).__name__} was given."
            raise ValueError(msg)
        if isinstance(base_optimizer, (LBFGS, AbstractExponentiatedGradient, AbstractWindowedOptimizer)):
            msg = (
                f"{type(base_optimizer).__name__} cannot be wrapped: it evaluates its closure several times a step, or "
                "learns a scale itself. Give an optimizer that makes one update from p.grad."
            )
            raise ValueError(msg)
        if scope not in get_args(Scope):
            raise ValueError(f"scope must be 'global' or 'tensor', but scope={scope!r} was given.")
        for group in base_optimizer.param_groups:
            for parameter in group["params"]:
                if refused := not_steppable(type(self).__name__, parameter):
                    raise ValueError(refused)
        check_rate("gain_lr", gain_lr)
        check_range("gain_range", gain_range)
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"decay is that of a moving average and must lie in [0, 1), but {decay!r} was given.")
        self.base_optimizer = base_optimizer
        self.scope: Scope = scope
        self.gain_lr, self.decay, self.gain_range, self.signs = gain_lr, decay, tuple(gain_range), signs
        self.scale_rule = ExponentiatedScale(scale_lr, scale_range, directions)
        super().__init__(base_optimizer.param_groups, {})
        self._share()

    def _share(self) -> None:
        """Make the base's groups and state this optimizer's own, with what a group of ours holds."""
        self.param_groups, self.state = self.base_optimizer.param_groups, self.base_optimizer.state
        for group in self.param_groups:
            for name, value in ((SCALE, 1.0), (EFFECTIVE_LR, 0.0), (STEPS, 0)):
                group.setdefault(name, value)
            group.setdefault(RULE_STATE, {})
            group.setdefault(OUTCOMES, none_yet())

    @property
    def _recorded_base(self) -> AbstractRecordedOptimizer | None:
        """The base optimizer, if it is one that measures its own step."""
        return self.base_optimizer if isinstance(self.base_optimizer, AbstractRecordedOptimizer) else None

    @property
    def _needs_tape(self) -> bool:
        """Whether the base optimizer measures anything on the recording, or reads its loss."""
        base = self._recorded_base
        return base is not None and (base._needs_tape or base._needs_loss)

    @property
    def _records(self) -> bool:
        """Whether the base optimizer reads a recording."""
        return self._recorded_base is not None

    @property
    def _needs_loss(self) -> bool:
        """Whether the base optimizer reads the loss."""
        return self._recorded_base is not None and self._recorded_base._needs_loss

    @property
    def _step_supports_amp_scaling(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether a GradScaler leaves the gradients scaled: where the base divides by its factor itself."""
        return self._recorded_base is not None and not self._in_closure

    @property
    def _rule_options(self) -> tuple[str, ...]:
        """None: rates and ranges are the optimizer's, not a group's."""
        return ()

    def _check_options(self, options: dict[str, Any]) -> None:
        """Leave the options to the base optimizer, which has checked them."""

    def _initial_rule_state(self) -> dict[str, Any]:
        """Return the empty state."""
        return {}

    # ------------------------------------------------------------------------------------------------ one step

    def _take(self, recordings: Recordings) -> StepRecord:
        """Carry out one step on the parameters that have a gradient, and say what was done."""
        every = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        parameters = [p for p in every if p.requires_grad]
        ell = self._ell()
        raw = [dense_gradient(type(self).__name__, parameter) for parameter in parameters]
        gradients = [recordings.unscaled(gradient.to(working_dtype(gradient.dtype))) for gradient in raw]
        own = [self._set_aside(p) for p in parameters]
        step, kept = None, own  # a step that is refused leaves what there was
        try:
            squares, products, update_squares = self._products(
                gradients, [state.get(LAST_UPDATE) for state in own], parameters
            )
            if not math.isfinite(sum(squares)):
                if self._recorded_base is not None:  # it says itself what is not finite
                    step = self._base_step(every, None, recordings)
                return step or self._stopped(Outcome.NON_FINITE_GRADIENT, ell, None)
            new, scale = [dict(state) for state in own], float(self.param_groups[0][SCALE])
            if self.scale_rule.rate > 0.0:
                scale = self._next_scales(new, scale, squares, products, update_squares)
            fed: Mapping[Tensor, Tensor] | None = None
            if self.gain_lr > 0.0:
                gains = self._next_gains(new, [real(gradient) for gradient in gradients])
                fed = {p: as_dtype(gain * real(g), g.dtype) for p, gain, g in zip(parameters, gains, raw, strict=True)}
            before = [local(p).detach().clone() for p in parameters] if self.scale_rule.rate > 0.0 else []
            step = self._base_step(every, fed, recordings)
            if step is not None and not step.outcome.moved:
                return step
            kept = new
            for group in self.param_groups:
                group[SCALE] = scale
            for parameter, state, start in zip(parameters, new, before, strict=False):
                self._scale_update(parameter, state, start)
        finally:
            for parameter, state in zip(parameters, kept, strict=True):
                if state:
                    self.state[parameter].update(state)
        scales = [float(state.get(SCALE, 1.0)) for state in new]
        scale = scale if self.scope == "global" else sum(scales) / max(len(scales), 1)
        if step is None:
            for group in self.param_groups:
                group[STEPS] += 1
        return StepRecord(
            loss=None if step is None else step.loss,
            slope=None if step is None else step.slope,
            curvature=None if step is None else step.curvature,
            absolute_curvature=None if step is None else step.absolute_curvature,
            lipschitz=None if step is None else step.lipschitz,
            rescaling=scale if step is None or step.rescaling is None else scale * step.rescaling,
            ell=ell,
            step_size=ell * scale if step is None else scale * step.step_size,
            direction_norm=None if step is None else step.direction_norm,
            outcome=Outcome.ZERO_LR if ell == 0.0 else Outcome.TAKEN if step is None else step.outcome,
            step=self._steps(),
        )

    def _first_state(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        """Return gain 1 and scale 1 with nothing learned, beside the base's state; asked where the base records."""
        base = self._recorded_base
        state = {} if base is None else base._first_state(group, parameter)
        still = zeros(local(parameter).detach())
        if self.gain_lr > 0.0:
            pairs = real(still)
            state.update({GAIN: torch.ones_like(pairs), GRADIENT_AVERAGE: pairs, GAIN_STEP: 0})
        if self.scale_rule.rate > 0.0:
            state.update({LAST_UPDATE: torch.zeros_like(still)})
            if self.scope == "tensor":
                state[SCALE] = 1.0
        return state

    def _set_aside(self, parameter: Tensor) -> dict[str, Any]:
        """Take our own entries out of a parameter's state: the base must find what it has left there."""
        state: dict[str, Any] = self.state.get(parameter, {})
        own = {name: state.pop(name) for name in _OWN if name in state}
        if own and not state:
            del self.state[parameter]
        return own

    def _base_step(
        self, every: Sequence[Tensor], fed: Mapping[Tensor, Tensor] | None, recordings: Recordings
    ) -> StepRecord | None:
        """Have the base optimizer take its step with other gradients, None: these; what it says of it, if anything."""
        base, former = self._recorded_base, [p.grad for p in every]
        left = recordings.left or Left.by_backward(every, [])
        try:
            for parameter in every:
                if not parameter.requires_grad:
                    parameter.grad = None
                elif fed is not None:
                    parameter.grad = placed_as(fed[parameter], parameter)
            if base is None:
                self.base_optimizer.step()
                return None
            base._pending = Pending(list(recordings.tapes), not recordings.tapes, left, recordings.noted_scale)
            base.process_group = self.process_group
            scaler = {name: vars(self)[name] for name in ("found_inf", "grad_scale") if name in vars(self)}
            vars(base).update(scaler)
            try:
                base.step()
            finally:
                for name in scaler:
                    vars(base).pop(name, None)
            return base.last_step
        finally:
            for parameter, gradient in zip(every, former, strict=True):
                parameter.grad = gradient

    def _products(
        self, gradients: Sequence[Tensor], updates: Sequence[Tensor | None], parameters: Sequence[Tensor]
    ) -> tuple[list[float], list[float], list[float]]:
        """Return ‖g‖², ⟨g, u⟩ and ‖u‖² tensor by tensor, with one host synchronisation; 0 where there is no u yet."""
        if not gradients:
            return [], [], []
        flat = [
            (real(g).reshape(-1), real(torch.zeros_like(g) if u is None else u).reshape(-1))
            for g, u in zip(gradients, updates, strict=True)
        ]
        terms = [term for g, u in flat for term in (g.dot(g), g.dot(u), u.dot(u))]
        if any_sharded(parameters):
            require_together(self.process_group)
            terms = averaged(counted(terms, [p for p in parameters for _ in range(3)]), self.process_group)
        found = to_host(*terms)
        return found[0::3], found[1::3], found[2::3]

    def _next_scales(
        self,
        states: list[dict[str, Any]],
        former: float,
        squares: list[float],
        products: list[float],
        update_squares: list[float],
    ) -> float:
        """Return s exp(γ ⟨ĝ, û⟩), or put it into the states tensor by tensor."""
        if self.scope == "global":
            return self.scale_rule.next(former, sum(products), sum(squares), sum(update_squares))
        for state, square, product, update in zip(states, squares, products, update_squares, strict=True):
            state[SCALE] = self.scale_rule.next(float(state.get(SCALE, 1.0)), product, square, update)
        return former

    def _next_gains(self, states: list[dict[str, Any]], gradients: list[Tensor]) -> list[Tensor]:
        """Put p exp(γ sign(g) sign(m)) and β m + (1−β) g into the states, and return the former."""
        for state, gradient in zip(states, gradients, strict=True):
            count = state.get(GAIN_STEP, 0)
            average = state.get(GRADIENT_AVERAGE, torch.zeros_like(gradient))
            if self.signs:
                exponent = gradient.sign().mul_(average.sign())
            else:  # the average is the one before this gradient, and so is its bias correction
                exponent = gradient * average / (1.0 - self.decay ** max(count, 1))
            gain = exponent.mul_(self.gain_lr).exp_()
            state[GAIN] = gain.mul_(state[GAIN]).clamp_(*self.gain_range) if GAIN in state else gain
            state[GRADIENT_AVERAGE] = torch.lerp(average, gradient, 1.0 - self.decay)
            state[GAIN_STEP] = count + 1
        return [state[GAIN] for state in states]

    def _scale_update(self, parameter: Tensor, state: dict[str, Any], start: Tensor) -> None:
        """Keep the base's update u = θ − θ' and write θ ← θ − s u; for s = 1 that is θ' bit for bit."""
        held, wide = local(parameter).detach(), working_dtype(parameter.dtype)
        begin, end = start.to(wide), held.to(wide)
        state[LAST_UPDATE] = begin - end
        scale = float(state.get(SCALE, 1.0)) if self.scope == "tensor" else float(self.param_groups[0][SCALE])
        if scale != 1.0:
            held.copy_(torch.lerp(begin, end, scale))

    # ------------------------------------------------------------------------------------- groups and state_dict

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters to the base optimizer, and so to this one.

        Args:
            param_group: ``{"params": …, option: value, …}``, with the base optimizer's options.
        """
        if any(param_group is group for group in self.base_optimizer.param_groups):
            return  # torch's constructor hands over the base's own groups
        self.base_optimizer.add_param_group(param_group)
        first, added = self.param_groups[0], self.param_groups[-1]
        added[SCALE], added[STEPS], added[OUTCOMES] = first[SCALE], first[STEPS], first[OUTCOMES]
        self._share()

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Load what ``state_dict()`` returned; the next step is then the one that would have followed, bit for bit.

        Args:
            state_dict: The dictionary, as it was or through ``torch.save`` and ``torch.load(weights_only=True)``.
        """
        self._require_own_kind(state_dict)
        self.base_optimizer.load_state_dict(state_dict)
        self._share()
        self._keep_dtypes(state_dict)

    def _holds_parts(self, name: str) -> bool:
        """Whether it is ours, or of a base that keeps its state as we do; one of torch keeps whole shards."""
        return name in _OWN or self._recorded_base is not None

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: torch's own entries, and ours."""
        own = ("base_optimizer", "scope", "gain_lr", "decay", "gain_range", "signs", "scale_rule", "last_step")
        return {**super().__getstate__(), **{name: getattr(self, name) for name in own}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled or loaded optimizer, sharing groups and state with its base again."""
        super().__setstate__(state)
        if "base_optimizer" in state:
            self._share()
