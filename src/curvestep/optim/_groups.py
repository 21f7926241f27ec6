"""Parameter groups and saved state of every optimizer of the library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT, StateDict

from curvestep._errors import CurvestepError
from curvestep._records import Outcome, StepRecord
from curvestep._shards import held_of, is_sharded, local, placed_as
from curvestep.optim._average import AVERAGING, check_gamma
from curvestep.optim._commit import EFFECTIVE_LR, RULE_STATE, STEPS
from curvestep.optim._options import MEASUREMENTS
from curvestep.optim._proof import SLOPE_ROUNDING
from curvestep.optim._telemetry import OUTCOMES, count, counts, line, none_yet


class AbstractGroupedOptimizer(Optimizer, ABC):
    """Base class that holds options in groups, one rule's state in all of them, and all of it in ``state_dict``."""

    last_step: StepRecord | None

    def __init__(self, params: ParamsT, options: dict[str, Any]) -> None:
        """Take the parameters and the options of a group, ``lr`` among them."""
        super().__init__(
            params,
            {
                **options,
                EFFECTIVE_LR: 0.0,
                STEPS: 0,
                MEASUREMENTS: 0,
                SLOPE_ROUNDING: 0.0,
                OUTCOMES: none_yet(),
                RULE_STATE: {},
            },
        )

    @abstractmethod
    def _check_options(self, options: dict[str, Any]) -> None:
        """Refuse a group's options that are out of range."""

    @abstractmethod
    def _initial_rule_state(self) -> dict[str, Any]:
        """Return the step rule's state before the first step."""

    @property
    @abstractmethod
    def _rule_options(self) -> tuple[str, ...]:
        """The options that belong to the rule and must therefore be the same in every group."""

    def _group_step(self, group: dict[str, Any], step: StepRecord) -> float:
        """Return τ_i, the learning rate that the step amounted to in a group: its ℓ times r; 0 where none was taken."""
        return float(group["lr"]) * step.rescaling if step.outcome.moved and step.rescaling is not None else 0.0

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters, with the options it names and the optimizer's own for the rest.

        Args:
            param_group: ``{"params": …, option: value, …}``.

        Raises:
            ValueError: An option is out of range, or an option of the step rule differs from
                that of the other groups.
        """
        options = {**self.defaults, **param_group}
        self._check_group(options)
        super().add_param_group(param_group)
        added = self.param_groups[-1]
        for parameter in added["params"]:
            refused = not_steppable(type(self).__name__, parameter)
            if refused:
                self.param_groups.pop()
                raise ValueError(refused)
        shared = self.param_groups[0]
        added[RULE_STATE] = dict(shared[RULE_STATE] or self._initial_rule_state())
        added[STEPS] = shared[STEPS]
        added[MEASUREMENTS] = shared[MEASUREMENTS]
        added[SLOPE_ROUNDING] = shared[SLOPE_ROUNDING]
        added[OUTCOMES] = shared[OUTCOMES]

    def _check_group(self, options: dict[str, Any]) -> None:
        """Refuse options that are out of range, or that belong to the step rule and differ from the other groups'."""
        self._check_options(options)
        gamma = options.get(AVERAGING)
        if gamma is not None:
            check_gamma(gamma)
        if self.param_groups:
            first = self.param_groups[0]
            for name in self._rule_options:
                if options.get(name) != first.get(name):
                    msg = (
                        f"{name} belongs to the step rule, which is one for all parameter groups, but a group with "
                        f"{name}={options.get(name)!r} was added to groups with {name}={first.get(name)!r}."
                    )
                    raise ValueError(msg)

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Load what ``state_dict()`` returned; the next step is then the one that would have followed, bit for bit.

        Args:
            state_dict: The dictionary, as it was or through ``torch.save`` and ``torch.load(weights_only=True)``.

        Raises:
            CurvestepError: It is that of another kind of optimizer.
        """
        self._require_own_kind(state_dict)
        super().load_state_dict(state_dict)
        self._keep_dtypes(state_dict)

    def state_dict(self) -> StateDict:
        """Return the state as `torch.optim` does; of sharded parameters as tensors that are cut as they are."""
        found = super().state_dict()
        for index, parameter in enumerate(self._parameters()):
            if is_sharded(parameter) and index in found["state"]:
                shape = local(parameter).shape
                found["state"][index] = {
                    name: placed_as(value, parameter) if isinstance(value, Tensor) and value.shape == shape else value
                    for name, value in found["state"][index].items()
                }
        return found

    def _holds_parts(self, name: str) -> bool:
        """Whether an entry of a parameter's state is kept as what this process holds of it."""
        del name
        return True

    def _require_own_kind(self, state_dict: StateDict) -> None:
        """Refuse the state of an optimizer of another kind, whose ``lr`` means something else."""
        # A rule's state may be empty, and torch.distributed.checkpoint drops what is.
        if any(STEPS not in group for group in state_dict["param_groups"]):
            msg = (
                f"{type(self).__name__} needs a state_dict of its own kind, but a group of the one given has no "
                f"{STEPS!r}: it was saved by another optimizer, whose lr is a learning rate. Begin without it."
            )
            raise CurvestepError(msg)

    def _keep_dtypes(self, state_dict: StateDict) -> None:
        """Give loaded tensors the dtype they were saved in, and hold of sharded ones what this process has."""
        saved_ids = [index for group in state_dict["param_groups"] for index in group["params"]]
        for index, parameter in zip(saved_ids, self._parameters(), strict=True):
            for name, value in state_dict["state"].get(index, {}).items():
                if not isinstance(value, Tensor):
                    continue
                held = self.state[parameter]
                if held[name].dtype != value.dtype:  # torch rounds to the dtype of 16-bit parameters
                    held[name] = value.detach().to(device=parameter.device, copy=True)
                if self._holds_parts(name):
                    held[name] = held_of(held[name], parameter)

    def _rule_state(self) -> dict[str, Any]:
        """Return the rule's state, which is the same in every group."""
        return self.param_groups[0][RULE_STATE]

    def _steps(self) -> int:
        """Return how many times the state was advanced."""
        return int(self.param_groups[0][STEPS])

    def _parameters(self) -> list[Tensor]:
        """Return all parameters, group by group."""
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _has_gradient(self) -> bool:
        """Whether any parameter has one."""
        return any(parameter.grad is not None for parameter in self._parameters())

    def _ell(self) -> float:
        """Return ℓ, the largest lr among the groups."""
        return max((float(group["lr"]) for group in self.param_groups), default=0.0)

    # ------------------------------------------------------------------------------------------------ telemetry

    @property
    def outcomes(self) -> dict[Outcome, int]:
        """How many calls of ``step`` ended in each outcome, the most frequent first; kept in ``state_dict``."""
        return counts(self.param_groups)

    def summary(self) -> str:
        """Return one line on the run so far: how its steps ended, and the numbers of the last one.

        Example:
            >>> import torch, curvestep
            >>> theta = torch.zeros(1, requires_grad=True)
            >>> optimizer = curvestep.RescaledSGD([theta], lr=0.5)
            >>> with optimizer.record():
            ...     (0.5 * (theta - torch.tensor([1.0, 2.0, 6.0])) ** 2).mean().backward()
            >>> _ = optimizer.step()
            >>> optimizer.summary()
            'RescaledSGD: 1 step, 100 % TAKEN; last: step size 1, curvature 9, loss 6.83'
        """
        return line(type(self).__name__, self.outcomes, self.last_step)

    def _report(self, step: StepRecord, former: dict[str, int]) -> None:
        """Say what a step did, in all the places where it is looked for."""
        self.last_step = step
        count(self.param_groups, former, step.outcome)
        for group in self.param_groups:
            group[EFFECTIVE_LR] = self._group_step(group, step)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled or loaded optimizer, giving options that it did not know their defaults."""
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in self.defaults.items():
                if name != "differentiable":  # torch puts this among the defaults of whatever it restores
                    group.setdefault(name, value)
            group[RULE_STATE] = dict(group.get(RULE_STATE) or self._initial_rule_state())


def not_steppable(owner: str, parameter: Tensor) -> str:
    """Return why a parameter cannot be stepped; empty where it can."""
    if getattr(parameter, "_fsdp_flattened", False):
        return (
            f"{owner} needs parameters of which it can tell what each process holds, but one of shape "
            f"{tuple(parameter.shape)} belongs to FullyShardedDataParallel: shard the model with "
            "torch.distributed.fsdp.fully_shard."
        )
    return ""
