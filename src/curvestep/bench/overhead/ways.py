"""The ways of taking a step: plain ones, curvestep's, and other ways to the curvature along the gradient.

Imports no torch: what a way does is looked up when it is prepared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, final

from curvestep.bench.errors import SettingError
from curvestep.bench.overhead.subjects import parts_of

if TYPE_CHECKING:
    from curvestep.bench.overhead.counted import Counted
    from curvestep.bench.overhead.prepared import Prepared
    from curvestep.bench.overhead.subjects import Set, Subject

# Late in a run; before, more often.
_AUTO_EVERY = 16

Baseline = Literal["SGD", "AdamW"]
Order = Literal["", "exact", "ggn", "losses"]


@final
@dataclass(frozen=True)
class Way:
    """A way of taking a step.

    Args:
        name: in tables and on the command line.
        gives: what is known after the step beside the gradient.
        baseline: the plain step along the same direction.
        prepare: makes it ready.
        predicted: its products over those of the plain step, from what `curvestep.doctor` counts; None for none.
        order: what kind of curvature it gives; "losses": what a parabola through losses has.
        samples: the share of the batch for whose samples it gives a number each; 0: one number for the batch.
        every: from how many steps to the next it measures.
        is_peer: whether it is somebody else's way, to be compared with.
        depends: which source it runs: "library" or "peers".
        sets: selections beside "full" that it belongs to.
        first: whether it is measured before others where time is short.
    """

    name: str
    gives: str
    baseline: Baseline
    prepare: Callable[[Subject], Prepared]
    predicted: Callable[[Counted], float | None] | None = None
    order: Order = ""
    samples: float = 0.0
    every: int = 1
    is_peer: bool = False
    depends: Literal["library", "peers"] = "library"
    sets: tuple[Set, ...] = ("quick", "standard", "cuda")
    first: bool = False

    def delivers(self, batch: int) -> int:
        """Curvature numbers of one measured step.

        Args:
            batch: number of samples.

        Returns:
            One for the batch, or one for each sample whose curvature is told apart; 0 where nothing is measured.
        """
        if not self.order:
            return 0
        return max(1, round(self.samples * batch))


def _by(module: str, function: str, *arguments: Any) -> Callable[[Subject], Prepared]:
    """A way that a module of this package prepares."""

    def prepare(subject: Subject) -> Prepared:
        return getattr(import_module(f"curvestep.bench.overhead.{module}"), function)(subject, *arguments)

    return prepare


def _plain(counted: Counted) -> float | None:
    """Forward and backward, nothing else."""
    return None if counted.forward is None else 1.0


def _exact(counted: Counted) -> float | None:
    """Forward, backward and a whole pass."""
    return counted.measured("auto")


def _naive(counted: Counted) -> float | None:
    """Forward, backward and a pass of three products a layer."""
    return counted.measured("naive")


def _polarised(counted: Counted) -> float | None:
    """Forward, backward and a pass of two products a layer."""
    return counted.measured("polarised")


def _quarter(counted: Counted) -> float | None:
    """Forward, backward and a pass over a quarter of the samples."""
    return counted.measured("quarter")


def _split(counted: Counted) -> float | None:
    """Forward, backward and a pass that computes values again."""
    return counted.measured("again")


def _default(counted: Counted) -> float | None:
    """A pass over a quarter of the samples that computes values again, on every sixteenth step."""
    measured = counted.measured("quarter again")
    return None if measured is None else 1.0 + (measured - 1.0) / _AUTO_EVERY


def _parabola(forwards: float) -> Callable[[Counted], float | None]:
    """Forward and backward, and so many forwards more a step."""
    return lambda counted: None if counted.forward is None else 1.0 + forwards * counted.forward


_PER_SAMPLE = "exact, per sample"
_BATCH = "exact, batch"
_QUARTER = "exact, per sample, ¼ of them"
_NOW_AND_THEN = "exact, ¼ of the samples, every 16 steps"
_NOTHING = "nothing"
_GROWN: tuple[Set, ...] = ("quick", "standard", "growth", "cuda")
_COMPILED: tuple[Set, ...] = ("compiled", "cuda")

WAYS: tuple[Way, ...] = (
    # A plain step against itself shows how far ratios scatter.
    Way("plain SGD", _NOTHING, "SGD", _by("ours", "plain_again", "SGD"), _plain, depends="peers"),
    Way("plain SGD, compiled", _NOTHING, "SGD", _by("graphs", "plain", "SGD"), depends="peers", sets=_COMPILED),
    Way("plain AdamW, compiled", _NOTHING, "AdamW", _by("graphs", "plain", "AdamW"), depends="peers", sets=_COMPILED),
    Way("Auto (default)", _NOW_AND_THEN, "AdamW", _by("ours", "auto"), _default, "exact", 0.25, _AUTO_EVERY,
        sets=_GROWN, first=True),
    Way("Auto, compiled", _NOW_AND_THEN, "AdamW", _by("graphs", "auto"), None, "exact", 0.25, _AUTO_EVERY,
        sets=_COMPILED),
    Way("RescaledSGD", _PER_SAMPLE, "SGD", _by("ours", "rescaled"), _exact, "exact", 1.0, sets=_GROWN, first=True),
    Way("RescaledSGD, naive products", _PER_SAMPLE, "SGD", _by("ours", "rescaled", "naive"), _naive, "exact", 1.0),
    Way("RescaledSGD, polarised products", _PER_SAMPLE, "SGD", _by("ours", "rescaled", "polarised"), _polarised,
        "exact", 1.0),
    Way("RescaledSGD, compiled", _PER_SAMPLE, "SGD", _by("graphs", "rescaled"), None, "exact", 1.0, sets=_COMPILED),
    Way("RescaledSGD, memory split", _PER_SAMPLE, "SGD", _by("ours", "rescaled", "auto", "split"), _split, "exact", 1.0,
        first=True),
    Way("RescaledSGD, Taylor form", _PER_SAMPLE, "SGD", _by("ours", "taylor"), None, "exact", 1.0),
    Way("RescaledSGD, Gauss-Newton", "GGN, per sample", "SGD", _by("ours", "gauss_newton"), None, "ggn", 1.0),
    Way("RescaledSGD, ¼ of the samples", _QUARTER, "SGD", _by("ours", "quarter"), _quarter, "exact", 0.25,
        sets=_GROWN, first=True),
    Way("RescaledAdam", _PER_SAMPLE, "AdamW", _by("ours", "rescaled_adam"), _exact, "exact", 1.0),
    Way("LQA", "two more losses", "SGD", _by("ours", "lqa"), _parabola(2.0), "losses", is_peer=True),
    Way("GeN", "two more losses every 8 steps", "AdamW", _by("ours", "gen"), _parabola(0.25), "losses", every=8,
        is_peer=True, sets=_GROWN),
    Way("double backward", _BATCH, "SGD", _by("peers", "prepare", "double_backward"), None, "exact", is_peer=True,
        depends="peers", sets=_GROWN),
    Way("torch.func, jvp of grad", _BATCH, "SGD", _by("peers", "prepare", "jvp_of_grad"), None, "exact", is_peer=True,
        depends="peers"),
    Way("curvlinops", _BATCH, "SGD", _by("peers", "prepare", "curvlinops"), None, "exact", is_peer=True,
        depends="peers"),
    Way("BackPACK, Gauss-Newton", "GGN, batch", "SGD", _by("peers", "prepare", "backpack_ggn"), None, "ggn",
        is_peer=True, depends="peers"),
)  # fmt: skip


def chosen_ways(names: str = "", size: Set = "full") -> tuple[Way, ...]:
    """The ways of a selection.

    Args:
        names: parts of names as in `parts_of`, which are looked for in all ways; empty for the selection.
        size: which selection; "full" has all ways.

    Returns:
        The ways in the order of the table.

    Raises:
        SettingError: if a part is in no name.
    """
    parts = parts_of(names)
    if not parts:
        return tuple(way for way in WAYS if size == "full" or size in way.sets)
    for part in parts:
        if not any(part in way.name.casefold() for way in WAYS):
            raise SettingError(f"No way has {part!r} in its name; they are {'; '.join(way.name for way in WAYS)}.")
    return tuple(way for way in WAYS if any(part in way.name.casefold() for part in parts))
