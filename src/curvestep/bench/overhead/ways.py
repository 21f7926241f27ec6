"""The ways of taking a step: plain ones, curvestep's, and other ways to the curvature along the gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, final

from curvestep.bench.errors import SettingError
from curvestep.bench.overhead import peers

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from curvestep.bench.overhead.subjects import Subject
    from curvestep.diagnostics.diagnosis import Products

Baseline = Literal["SGD", "AdamW"]

# Small enough for a plain step to change nothing that a step costs.
_RATE = 1e-4


@final
@dataclass(frozen=True)
class Prepared:
    """A way on a network.

    Args:
        step: forward, backward, measurement and update.
        period: after how many steps the cost repeats; so many are timed together.
        warmup: steps after which it does; two see what is made at first, and what is found again.
    """

    step: Callable[[], None]
    period: int = 1
    warmup: int = 2


@final
@dataclass(frozen=True)
class Way:
    """A way of taking a step.

    Args:
        name: in tables and on the command line.
        gives: what is known after the step beside the gradient.
        baseline: the plain step along the same direction.
        prepare: makes it ready.
        predicted: its products over those of the plain step, from the counts of `curvestep.doctor`; None for none.
    """

    name: str
    gives: str
    baseline: Baseline
    prepare: Callable[[Subject], Prepared]
    predicted: Callable[[Products], float | None] | None = None


# -- plain steps ------------------------------------------------------------------------------------------------------


def plain(baseline: Baseline, subject: Subject) -> Callable[[], None]:
    """Forward, backward and the update of torch's optimizer."""
    import torch

    makers: dict[Baseline, Callable[..., Optimizer]] = {"SGD": torch.optim.SGD, "AdamW": torch.optim.AdamW}
    return _by_closure(makers[baseline](subject.parameters, lr=_RATE), subject)


def _by_closure(optimizer: Optimizer, subject: Subject) -> Callable[[], None]:
    """A step as users write it."""

    def closure() -> Any:
        optimizer.zero_grad()
        loss = subject.loss()
        loss.backward()
        return loss

    def step() -> None:
        optimizer.step(closure)

    return step


# -- curvestep's ------------------------------------------------------------------------------------------------------


def _named(name: str, /, *, period: int = 1, warmup: int = 2, **options: Any) -> Callable[[Subject], Prepared]:
    """One of curvestep's optimizers."""

    def prepare(subject: Subject) -> Prepared:
        import curvestep

        kind: Any = getattr(curvestep, name)
        return Prepared(_by_closure(kind(subject.parameters, **options), subject), period, warmup)

    return prepare


def _split(subject: Subject) -> Prepared:
    """The exact curvature with fewer cotangents held."""
    import curvestep

    optimizer = curvestep.RescaledSGD(subject.parameters)

    def step() -> None:
        optimizer.zero_grad()
        with optimizer.record(memory="split"):
            subject.loss().backward()
        optimizer.step()

    return Prepared(step)


def _taylor(subject: Subject) -> Prepared:
    """The second-order terms carried to the loss, for the gradient and torch's update; no optimizer asks for it."""
    import torch

    import curvestep

    parameters = subject.parameters
    optimizer = torch.optim.SGD(parameters, lr=_RATE)

    def step() -> None:
        optimizer.zero_grad()
        with curvestep.record() as tape:
            subject.loss().backward()
        moved = [p for p in parameters if p.grad is not None]
        tape.curvature(moved, [p.grad for p in moved if p.grad is not None], form="taylor").total.item()
        tape.release()
        optimizer.step()

    return Prepared(step)


def _exact(products: Products) -> float | None:
    """Forward, backward and a whole pass."""
    return products.ratio


def _default(products: Products) -> float | None:
    """A pass over a quarter of the samples, on every eighth step."""
    return None if products.ratio is None else 1.0 + 0.25 / 8.0 * (products.ratio - 1.0)


def _quarter(products: Products) -> float | None:
    """Forward, backward and a pass over a quarter of the samples."""
    return None if products.ratio is None else 1.0 + 0.25 * (products.ratio - 1.0)


def _parabola(forwards: float) -> Callable[[Products], float | None]:
    """Forward and backward, and so many forwards more a step."""

    def predicted(products: Products) -> float | None:
        if products.ratio is None:
            return None
        forward = products.forward_multiply_adds
        return 1.0 + forwards * forward / (forward + products.gradient_multiply_adds)

    return predicted


_PER_SAMPLE = "exact, per sample"
_BATCH = "exact, batch"
_QUARTER = "exact, per sample, ¼ of them"

WAYS: tuple[Way, ...] = (
    # Measures on every eighth step, and on each of the first ten.
    Way("Auto (default)", "exact, now and then", "AdamW", _named("Auto", period=8, warmup=10), _default),
    Way("RescaledAdam", _PER_SAMPLE, "AdamW", _named("RescaledAdam"), _exact),
    Way("RescaledAdam, ¼ of the samples", _QUARTER, "AdamW", _named("RescaledAdam", curvature_samples=0.25), _quarter),
    Way("RescaledSGD", _PER_SAMPLE, "SGD", _named("RescaledSGD"), _exact),
    Way("RescaledSGD, memory split", _PER_SAMPLE, "SGD", _split),
    Way("RescaledSGD, Taylor form", _PER_SAMPLE, "SGD", _taylor),
    Way("RescaledSGD, Gauss-Newton", "GGN, per sample", "SGD", _named("RescaledSGD", curvature="ggn")),
    Way("RescaledSGD, ¼ of the samples", _QUARTER, "SGD", _named("RescaledSGD", curvature_samples=0.25), _quarter),
    Way("LQA", "two more losses", "SGD", _named("LQA"), _parabola(2.0)),
    Way("GeN", "two more losses every 8 steps", "AdamW", _named("GeN", period=8), _parabola(0.25)),
    Way("double backward", _BATCH, "SGD", lambda subject: Prepared(peers.double_backward(subject))),
    Way("torch.func, jvp of grad", _BATCH, "SGD", lambda subject: Prepared(peers.jvp_of_grad(subject))),
    Way("curvlinops", _BATCH, "SGD", lambda subject: Prepared(peers.curvlinops(subject))),
    Way("BackPACK, Gauss-Newton", "GGN, batch", "SGD", lambda subject: Prepared(peers.backpack_ggn(subject))),
)


def chosen_ways(names: str = "") -> tuple[Way, ...]:
    """The ways with these parts in their names.

    Args:
        names: parts separated by commas; empty for all.

    Returns:
        The ways in the order of the table.

    Raises:
        SettingError: if a part is in no name.
    """
    parts = [part.strip().casefold() for part in names.split(",") if part.strip()]
    for part in parts:
        if not any(part in way.name.casefold() for way in WAYS):
            raise SettingError(f"No way has {part!r} in its name; they are {'; '.join(way.name for way in WAYS)}.")
    return tuple(way for way in WAYS if not parts or any(part in way.name.casefold() for part in parts))
