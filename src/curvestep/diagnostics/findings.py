"""The parts of what `curvestep.doctor` finds."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import final


class Coverage(enum.Enum):
    """How the second derivative of an operation is obtained."""

    EXACT = "exact rule"
    DECOMPOSED = "decomposition"
    MISSING = "no rule"


@final
@dataclass(frozen=True)
class Operation:
    """One operation between the parameters and the loss.

    Attributes:
        name: as torch names it, `aten.addmm.default`; the class of a custom `torch.autograd.Function`.
        count: how often it ran there.
        coverage: whether it has a rule.
        couples: whether one sample's output depends on other samples (batch statistics).
        kinks: whether its first derivative jumps somewhere.
        path: for a missing one, a path from a parameter to it; else None.
        advice: what to do where that is known; else empty.
    """

    name: str
    count: int
    coverage: Coverage
    couples: bool
    kinks: bool
    path: str | None
    advice: str = ""


@final
@dataclass(frozen=True)
class Samples:
    """The batch, as the recording shows it.

    Attributes:
        batch_size: number of samples; None where no axis was found.
        found: where the number was read off, as a phrase; None with it.
        exact: whether the curvature of each sample's own loss is exact; that of their mean always is.
        form: which pass splits it: "tangent", "taylor" or "tangent+taylor"; None where no pass could run.
    """

    batch_size: int | None
    found: str | None
    exact: bool
    form: str | None


@final
@dataclass(frozen=True)
class Parameters:
    """The parameters by what becomes of them.

    Attributes:
        tensors: how many tensors lie on a path to the loss and require gradients.
        elements: how many numbers they hold.
        frozen: names of those that do not require gradients.
        unreached: names of those that require gradients but have no path to the loss.
    """

    tensors: int
    elements: int
    frozen: tuple[str, ...]
    unreached: tuple[str, ...]


@final
@dataclass(frozen=True)
class Products:
    """Matrix products and convolutions, in number and in multiply-adds; attention counts two a forward.

    Attributes:
        forward: of the forward.
        gradient: of the backward.
        tangent: of the pass that measures the curvature.
        forward_multiply_adds: the same in multiply-adds.
        gradient_multiply_adds: likewise.
        tangent_multiply_adds: likewise.
        uncounted: operations that multiply inside, by a decomposition, where the count does not see it.
    """

    forward: int
    gradient: int
    tangent: int
    forward_multiply_adds: int
    gradient_multiply_adds: int
    tangent_multiply_adds: int
    uncounted: tuple[str, ...]

    @property
    def ratio(self) -> float | None:
        """Work of a measured step over that of a plain one, going by products; None where the count is not whole."""
        plain = self.forward_multiply_adds + self.gradient_multiply_adds
        return None if plain == 0 or self.uncounted else (plain + self.tangent_multiply_adds) / plain


@final
@dataclass(frozen=True)
class Measurement:
    """Steps that measure against forward, backward and step of `torch.optim.SGD`, on the example batch.

    Attributes:
        repetitions: steps of each kind, in turn, of which the median time is given.
        plain_seconds: of a plain step.
        measured_seconds: of a step of `RescaledSGD`, which measures the whole batch.
        auto_seconds: of a window's end of `Auto`: a batch that is measured at the averaged weights before its step;
            None where it refuses this loss there.
        auto_every: how many calls of `Auto.step` there are to one window's end, in a run of 1,000 calls.
        plain_bytes: the most memory at once during a plain step, parameters and buffers included; None where it
            could not be observed.
        measured_bytes: the same of a step of `RescaledSGD`.
        auto_bytes: the same of a window's end of `Auto`; its state is in it.
        auto_refusal: the sentence with which `Auto` refuses this loss at a window's end; None where it does not.
    """

    repetitions: int
    plain_seconds: float
    measured_seconds: float
    auto_seconds: float | None
    auto_every: int
    plain_bytes: int | None
    measured_bytes: int | None
    auto_bytes: int | None
    auto_refusal: str | None = None

    @property
    def time_ratio(self) -> float:
        """Time of a measured step over that of a plain one."""
        return self.measured_seconds / self.plain_seconds

    @property
    def auto_ratio(self) -> float | None:
        """Time of a call of `Auto.step`, in the mean over 1,000 of them, over that of a plain step; None with it."""
        if self.auto_seconds is None:
            return None
        return 1.0 + (self.auto_seconds / self.plain_seconds - 1.0) / self.auto_every

    @property
    def memory_ratio(self) -> float | None:
        """Peak memory of a measured step over that of a plain one."""
        if self.plain_bytes is None or self.measured_bytes is None:
            return None
        return self.measured_bytes / self.plain_bytes


@final
@dataclass(frozen=True)
class Suggestion:
    """The first step that an optimizer of curvestep would take from here.

    Attributes:
        optimizer: its class, "RescaledSGD".
        ell: ℓ, its `lr`.
        step_size: τ, so that θ ← θ − τ d; 0 where it would not move.
        outcome: the sentence of the step's `Outcome`.
    """

    optimizer: str
    ell: float
    step_size: float
    outcome: str
