"""What a measured step was meant to cost, beside what it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from benchmarks.overhead.row import OverheadRow
from benchmarks.overhead.variants import DEFAULT, DEFAULT_COMPILED, VARIANTS

_MLP = "MLP 784-300-100-10, B256"
_VGG = "VGG11, softplus, B64"
_VGG_LARGE = "VGG11, softplus, B256"
_GPT = "GPT 4×128, T64, B16"
_GPT_LARGE = "GPT 12×768, T1024, B8"
_RESNET = "ResNet-18, batch norm, stem stride 2, B32"
_EXACT, _SPLIT = "RescaledSGD", "RescaledSGD, memory split"
_OURS = frozenset(variant.name for variant in VARIANTS if variant.order and not variant.is_peer)

Found = Mapping[tuple[str, str], OverheadRow]


def _time(method: str) -> Callable[[Found, str], float | None]:
    """The ratio of times of a variant, where no other work was in the way."""

    def of(found: Found, case: str) -> float | None:
        row = found.get((method, case))
        return None if row is None or row.disturbed else row.median

    return of


def _memory(method: str) -> Callable[[Found, str], float | None]:
    """The ratio of peaks of a variant."""

    def of(found: Found, case: str) -> float | None:
        row = found.get((method, case))
        return None if row is None else row.memory

    return of


def _both_compiled(method: str, plain: str) -> Callable[[Found, str], float | None]:
    """The ratio of times of a compiled variant to a compiled plain step; each is known over the plain step."""

    def of(found: Found, case: str) -> float | None:
        measured, compiled = _time(method)(found, case), _time(plain)(found, case)
        return None if measured is None or compiled is None else measured / compiled

    return of


def _error(found: Found, case: str) -> float | None:
    """The largest error of a sample's curvature in any of curvestep's variants."""
    errors = [
        row.error_per_sample
        for (method, on), row in found.items()
        if on == case and method in _OURS and row.error_per_sample is not None
    ]
    return max(errors, default=None)


@final
@dataclass(frozen=True)
class Target:
    """One number that was to be reached.

    Args:
        what: in words.
        most: the largest value with which it is held, by network.
        value: what was measured on a network.
    """

    what: str
    most: Mapping[str, float]
    value: Callable[[Found, str], float | None]


_TENTH: Mapping[str, float] = dict.fromkeys((_VGG, _MLP, _GPT, _RESNET), 1.10)
_FOUR = {_VGG: 1.75, _MLP: 1.6, _GPT: 2.0, _RESNET: 1.9}
_TWENTIETH: Mapping[str, float] = dict.fromkeys((_VGG_LARGE, _GPT_LARGE), 1.05)
_TWO = {_VGG_LARGE: 1.6, _GPT_LARGE: 1.8}
_COMPILED = "RescaledSGD, compiled", "plain SGD, compiled"
_AUTO_COMPILED = DEFAULT_COMPILED, "plain AdamW, compiled"

ON_CPU: tuple[Target, ...] = (
    Target("exact, every step, whole batch: time", _FOUR, _time(_EXACT)),
    Target("exact, compiled, over a compiled plain step: time", _FOUR, _both_compiled(*_COMPILED)),
    Target("the default: time", _TENTH, _time(DEFAULT)),
    Target("the default, compiled, over a compiled plain step: time", _TENTH, _both_compiled(*_AUTO_COMPILED)),
    Target("exact: memory", {_VGG: 2.0}, _memory(_EXACT)),
    Target("the default: memory", {_VGG: 1.3}, _memory(DEFAULT)),
    Target("exact, memory split: memory", {_VGG: 1.15}, _memory(_SPLIT)),
    Target("largest error of a sample", dict.fromkeys((_VGG, _MLP, _GPT, _RESNET), 1e-4), _error),
)
ON_ACCELERATOR: tuple[Target, ...] = (
    Target("exact, every step, whole batch: time", _TWO, _time(_EXACT)),
    Target("exact, compiled, over a compiled plain step: time", _TWO, _both_compiled(*_COMPILED)),
    Target("the default: time", _TWENTIETH, _time(DEFAULT)),
    Target("the default, compiled, over a compiled plain step: time", _TWENTIETH, _both_compiled(*_AUTO_COMPILED)),
    Target("largest error of a sample", dict.fromkeys((_VGG_LARGE, _GPT_LARGE), 1e-4), _error),
)


def table(rows: Sequence[OverheadRow], *, on_accelerator: bool) -> str:
    """Targets, what was measured, and whether they are held.

    Args:
        rows: of one machine.
        on_accelerator: which targets.

    Returns:
        Markdown; empty where nothing of it was measured.
    """
    found = {(row.method, row.subject): row for row in rows}
    lines: list[str] = []
    held = judged = 0
    for target in ON_ACCELERATOR if on_accelerator else ON_CPU:
        for case, most in target.most.items():
            value = target.value(found, case)
            if value is None:
                word, shown = "not measured", "–"
            else:
                judged += 1
                held += value <= most
                word, shown = ("held" if value <= most else "**not held**"), _number(value)
            lines.append(f"| {target.what} | {case} | {_number(most)} | {shown} | {word} |")
    if not judged:
        return ""
    head = [
        "### Targets\n",
        f"{held} of the {judged} that were measured are held.\n",
        "| what | network | at most | measured | |",
        "|---|---|--:|--:|---|",
    ]
    return "\n".join([*head, *lines]) + "\n"


def _number(value: float) -> str:
    """Two digits behind the point; small ones with two digits and a power."""
    return f"{value:.2f}" if value >= 0.01 else f"{value:.1e}"
