"""Which rows a selection has, and in which order they are measured."""

from __future__ import annotations

from benchmarks.overhead.cases import CaseSpec, Set, chosen
from benchmarks.overhead.variants import Variant, chosen_variants

# A step takes seconds there without an accelerator: a few variants say what the batch does to the ratio.
_SLOW = "VGG11, softplus, B256"
# Where compiling, a minute a row, is worth it: the networks of the targets.
_COMPILED_ON_CUDA = ("VGG11, softplus, B256", "GPT 12×768, T1024, B8")

Pair = tuple[CaseSpec, Variant]


def rows_of(size: Set, networks: str = "", variants: str = "") -> tuple[Pair, ...]:
    """The rows of a selection.

    Args:
        size: which.
        networks: parts of names as in `parts_of`; empty for the selection's.
        variants: the same of variants.

    Returns:
        Networks and variants, network by network. On an accelerator, where time is short, what the targets are about
        comes first and what compiles last.

    Raises:
        SettingError: if a part is in no name.
    """
    specs, found = chosen(size, networks), chosen_variants(variants, size)
    pairs = [(spec, variant) for spec in specs for variant in found if variants or _fits(size, spec, variant)]
    return tuple(sorted(pairs, key=_turn)) if size == "cuda" else tuple(pairs)


def _fits(size: Set, spec: CaseSpec, variant: Variant) -> bool:
    """Whether a selection measures the variant on the network."""
    if size == "standard" and spec.name == _SLOW:
        return "growth" in variant.sets
    if size == "cuda" and "compiled" in variant.sets:
        return spec.name in _COMPILED_ON_CUDA
    return True


def _turn(pair: Pair) -> int:
    """When a row is measured on an accelerator; rows of equal turn keep their order."""
    spec, variant = pair
    if "compiled" in variant.sets:
        return 3
    if not variant.first:
        return 2
    return 0 if spec.name in _COMPILED_ON_CUDA else 1
