"""Which rows a selection has, and in which order they are measured."""

from __future__ import annotations

from curvestep.bench.overhead.subjects import Set, SubjectSpec, chosen
from curvestep.bench.overhead.ways import Way, chosen_ways

# A step takes seconds there without an accelerator: a few ways say what the batch does to the ratio.
_SLOW = "VGG11, softplus, B256"
# Where compiling, a minute a row, is worth it: the networks of the targets.
_COMPILED_ON_CUDA = ("VGG11, softplus, B256", "GPT 12×768, T1024, B8")

Pair = tuple[SubjectSpec, Way]


def rows_of(size: Set, networks: str = "", ways: str = "") -> tuple[Pair, ...]:
    """The rows of a selection.

    Args:
        size: which.
        networks: parts of names as in `parts_of`; empty for the selection's.
        ways: the same of ways.

    Returns:
        Networks and ways, network by network. On an accelerator, where time is short, what the targets are about comes
        first and what compiles last.

    Raises:
        SettingError: if a part is in no name.
    """
    specs, found = chosen(size, networks), chosen_ways(ways, size)
    pairs = [(spec, way) for spec in specs for way in found if ways or _fits(size, spec, way)]
    return tuple(sorted(pairs, key=_turn)) if size == "cuda" else tuple(pairs)


def _fits(size: Set, spec: SubjectSpec, way: Way) -> bool:
    """Whether a selection measures the way on the network."""
    if size == "standard" and spec.name == _SLOW:
        return "growth" in way.sets
    if size == "cuda" and "compiled" in way.sets:
        return spec.name in _COMPILED_ON_CUDA
    return True


def _turn(pair: Pair) -> int:
    """When a row is measured on an accelerator; rows of equal turn keep their order."""
    spec, way = pair
    if "compiled" in way.sets:
        return 3
    if not way.first:
        return 2
    return 0 if spec.name in _COMPILED_ON_CUDA else 1
