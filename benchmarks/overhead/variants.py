"""The variants of a step: plain ones, curvestep's, and other ways to the curvature along the gradient.

Imports no torch: what a variant does is looked up when it is prepared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, final

from benchmarks.overhead.cases import parts_of
from curvestep.bench.errors import SettingError

if TYPE_CHECKING:
    from benchmarks.overhead.cases import Case, Set
    from benchmarks.overhead.predicted import Pass, Predicted
    from benchmarks.overhead.prepared import Prepared

# Late in a run; before, more often.
_LAZY_EVERY = 16

#: Of so many calls of the default's `step` from the first on, how many end a window of steps.
WINDOW_ENDS = {300: 4, 1000: 8}
_WINDOW_EVERY = round(1000 / WINDOW_ENDS[1000])

Baseline = Literal["SGD", "AdamW"]
Order = Literal["", "exact", "ggn", "losses"]


@final
@dataclass(frozen=True)
class Variant:
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
        is_peer: whether it is somebody else's variant, to be compared with.
        depends: which source it runs: "library" or "peers".
        sets: selections beside "full" that it belongs to.
        first: whether it is measured before others where time is short.
    """

    name: str
    gives: str
    baseline: Baseline
    prepare: Callable[[Case], Prepared]
    predicted: Callable[[Predicted], float | None] | None = None
    order: Order = ""
    samples: float = 0.0
    every: int = 1
    is_peer: bool = False
    depends: Literal["library", "peers"] = "library"
    sets: tuple[Set, ...] = ("quick", "standard", "cuda")
    first: bool = False

    def delivers(self, batch: int) -> int:
        """Curvature numbers of a measured step on so many samples: one a sample, or one; 0 without a measurement."""
        if not self.order:
            return 0
        return max(1, round(self.samples * batch))


def _by(module: str, function: str, arguments: tuple[Any, ...]) -> Callable[[Case], Prepared]:
    """What a function of this package prepares."""
    return lambda case: getattr(import_module(f"benchmarks.overhead.{module}"), function)(case, *arguments)


def _own(function: str, *arguments: Any) -> Callable[[Case], Prepared]:
    """A step of curvestep's, or torch's own."""
    return _by("own_steps", function, arguments)


def _compiled(function: str, *arguments: Any) -> Callable[[Case], Prepared]:
    """A step that compiles."""
    return _by("compiled_steps", function, arguments)


def _peer(product: str) -> Callable[[Case], Prepared]:
    """A step with somebody else's product."""
    return _by("peer_steps", "prepare", (product,))


def _plain(counted: Predicted) -> float | None:
    """Forward and backward, nothing else."""
    return None if counted.forward is None else 1.0


def _measured(kind: Pass) -> Callable[[Predicted], float | None]:
    """Forward, backward and one pass: whole, of three or two products a layer, of a quarter of the samples, …."""
    return lambda counted: counted.measured(kind)


def _default(counted: Predicted) -> float | None:
    """At each window's end a pass that computes values again, and two more forwards."""
    measured = counted.measured("again")
    if measured is None or counted.forward is None:
        return None
    return 1.0 + (measured + 2.0 * counted.forward - 1.0) / _WINDOW_EVERY


def _lazy(counted: Predicted) -> float | None:
    """A pass over a quarter of the samples that computes values again, on every sixteenth step."""
    measured = counted.measured("quarter again")
    return None if measured is None else 1.0 + (measured - 1.0) / _LAZY_EVERY


def _parabola(forwards: float) -> Callable[[Predicted], float | None]:
    """Forward and backward, and so many forwards more a step."""
    return lambda counted: None if counted.forward is None else 1.0 + forwards * counted.forward


#: The library's default, and its steps compiled.
DEFAULT, DEFAULT_COMPILED = "Auto", "Auto, compiled"

_PER_SAMPLE = "exact, per sample"
_BATCH = "exact, batch"
_QUARTER = "exact, per sample, ¼ of them"
_NOW_AND_THEN = "exact, ¼ of the samples, every 16 steps"
_AT_ENDS = "exact, batch, at windows' ends"
_NOTHING = "nothing"
_GROWN: tuple[Set, ...] = ("quick", "standard", "growth", "cuda")
_GRAPHS: tuple[Set, ...] = ("compiled", "cuda")

VARIANTS: tuple[Variant, ...] = (
    # A plain step against itself shows how far ratios scatter.
    Variant("plain SGD", _NOTHING, "SGD", _own("plain_again", "SGD"), _plain, depends="peers"),
    Variant("plain SGD, compiled", _NOTHING, "SGD", _compiled("plain", "SGD"), depends="peers", sets=_GRAPHS),
    Variant("plain AdamW, compiled", _NOTHING, "AdamW", _compiled("plain", "AdamW"), depends="peers", sets=_GRAPHS),
    Variant(DEFAULT, _AT_ENDS, "AdamW", _own("auto"), _default, "exact", 0.0, _WINDOW_EVERY, sets=_GROWN, first=True),
    Variant(DEFAULT_COMPILED, _AT_ENDS, "AdamW", _compiled("auto"), None, "exact", 0.0, _WINDOW_EVERY, sets=_GRAPHS),
    Variant("CeilingAdam, every 16th step", _NOW_AND_THEN, "AdamW", _own("ceiling"), _lazy, "exact", 0.25, _LAZY_EVERY,
        sets=()),
    Variant("CeilingAdam, compiled", _NOW_AND_THEN, "AdamW", _compiled("ceiling"), None, "exact", 0.25, _LAZY_EVERY,
        sets=_GRAPHS),
    Variant("RescaledSGD", _PER_SAMPLE, "SGD", _own("rescaled"), _measured("auto"), "exact", 1.0, sets=_GROWN,
        first=True),
    Variant("RescaledSGD, naive products", _PER_SAMPLE, "SGD", _own("rescaled", "naive"), _measured("naive"),
        "exact", 1.0),
    Variant("RescaledSGD, polarised products", _PER_SAMPLE, "SGD", _own("rescaled", "polarised"),
        _measured("polarised"), "exact", 1.0),
    Variant("RescaledSGD, compiled", _PER_SAMPLE, "SGD", _compiled("rescaled"), None, "exact", 1.0, sets=_GRAPHS),
    Variant("RescaledSGD, memory split", _PER_SAMPLE, "SGD", _own("rescaled", "auto", "split"), _measured("again"),
        "exact", 1.0, first=True),
    Variant("RescaledSGD, Taylor form", _PER_SAMPLE, "SGD", _own("taylor"), None, "exact", 1.0),
    Variant("RescaledSGD, Gauss-Newton", "GGN, per sample", "SGD", _own("gauss_newton"), None, "ggn", 1.0),
    Variant("RescaledSGD, ¼ of the samples", _QUARTER, "SGD", _own("quarter"), _measured("quarter"), "exact", 0.25,
        sets=_GROWN, first=True),
    Variant("RescaledAdam", _PER_SAMPLE, "AdamW", _own("rescaled_adam"), _measured("auto"), "exact", 1.0),
    Variant("LQA", "two more losses", "SGD", _own("lqa"), _parabola(2.0), "losses", is_peer=True),
    Variant("GeN", "two more losses every 8 steps", "AdamW", _own("gen"), _parabola(0.25), "losses", every=8,
        is_peer=True, sets=_GROWN),
    Variant("double backward", _BATCH, "SGD", _peer("double_backward"), None, "exact", is_peer=True, depends="peers",
        sets=_GROWN),
    Variant("torch.func, jvp of grad", _BATCH, "SGD", _peer("jvp_of_grad"), None, "exact", is_peer=True,
        depends="peers"),
    Variant("curvlinops", _BATCH, "SGD", _peer("curvlinops"), None, "exact", is_peer=True, depends="peers"),
    Variant("BackPACK, Gauss-Newton", "GGN, batch", "SGD", _peer("backpack_ggn"), None, "ggn", is_peer=True,
        depends="peers"),
)  # fmt: skip


def chosen_variants(names: str = "", size: Set = "full") -> tuple[Variant, ...]:
    """The variants of a selection.

    Args:
        names: names, or parts of names, as in `parts_of`, which are looked for in all variants; empty for the
            selection.
        size: which selection; "full" has all variants.

    Returns:
        The variants in the order of the table.

    Raises:
        SettingError: if a part is in no name.
    """
    parts = parts_of(names)
    whole = {variant.name.casefold() for variant in VARIANTS}
    if not parts:
        return tuple(variant for variant in VARIANTS if size == "full" or size in variant.sets)
    for part in parts:
        if not any(part in variant.name.casefold() for variant in VARIANTS):
            raise SettingError(
                f"No variant has {part!r} in its name; they are {'; '.join(variant.name for variant in VARIANTS)}."
            )
    return tuple(variant for variant in VARIANTS if any(_is_named(part, variant, whole) for part in parts))


def _is_named(part: str, variant: Variant, whole: Collection[str]) -> bool:
    """Whether a part of names means a variant: the one of that name, or else all whose names have it."""
    name = variant.name.casefold()
    return part == name if part in whole else part in name
