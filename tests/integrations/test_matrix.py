"""Every method in every loop, precision and variant: after twenty steps the parameters are those of the plain loop."""

from __future__ import annotations

import functools
import itertools
import re
from pathlib import Path

import pytest
from torch import Tensor

from curvestep._records import Outcome
from tests.integrations.loops import LOOPS, METHODS, Setting, make_net, plain

PAGE = Path(__file__).resolve().parents[2] / "docs" / "loops.md"
PRECISIONS = ("float64", "bf16", "fp16")
EXTRAS = ("none", "accumulation", "clipping")
#: The package that a loop comes with.
NEEDS = {
    "Lightning": "lightning",
    "Lightning, closure": "lightning",
    "Accelerate": "accelerate",
    "HF Trainer": "transformers",
}

#: How far the parameters may be from those of the plain loop on whole batches, in units of the way travelled. In
#: float64 sums are taken in another order. In 16 bits gradients of micro-batches are rounded before they are added, and
#: a clip that changes nothing lets the slope be read off the recording: eight units of rounding.
ALLOWED = {"float64": 1e-10, "bf16": 8 * 2.0**-8, "fp16": 8 * 2.0**-10}

MEASURING: tuple[str, ...] = ("Auto", "RescaledSGD", "RescaledAdam", "LQA")
READING: tuple[str, ...] = (*MEASURING, "ALIG")

#: (loop, precision, variant) → which methods refuse, and in which words.
_TWICE: dict[str, str] = dict.fromkeys(MEASURING, "One backward pass inside the recording was needed, but 2 ran")
_CLOSURE: dict[str, str] = {
    **dict.fromkeys(READING, "GradScaler.step was given a closure"),
    "EGStepSize": "No inf checks were recorded for this optimizer",
}
_FORMER: dict[str, str] = dict.fromkeys(
    READING, "there was a gradient before the first recorded backward since the last step"
)
_NOTHING: dict[str, str] = dict.fromkeys(READING, "step() needs a recorded forward and backward pass")
_FUSED: dict[str, str] = dict.fromkeys(READING, "does not allow for gradient clipping because it performs unscaling")
REFUSED: dict[tuple[str, str, str], dict[str, str]] = {
    ("closure", "float64", "accumulation"): _TWICE,
    ("closure", "bf16", "accumulation"): _TWICE,
    ("closure", "fp16", "none"): _CLOSURE,
    ("closure", "fp16", "accumulation"): _CLOSURE,
    ("closure", "fp16", "clipping"): _CLOSURE,
    ("Lightning", "fp16", "clipping"): _FUSED,
    ("Lightning, closure", "float64", "accumulation"): _FORMER,
    ("Lightning, closure", "bf16", "accumulation"): _FORMER,
    ("Lightning, closure", "fp16", "none"): _NOTHING,
    ("Lightning, closure", "fp16", "accumulation"): _NOTHING,
    ("Lightning, closure", "fp16", "clipping"): _FUSED,
}


@functools.cache
def truth(method: str, precision: str, clips: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Parameters before and after twenty steps of the plain loop on whole batches."""
    setting = Setting(precision, "clipping" if clips else "none")
    net = make_net(setting)
    before = [p.detach().clone() for p in net.parameters()]
    plain(net, METHODS[method], setting)
    return before, [p.detach().clone() for p in net.parameters()]


def distance(left: list[Tensor], right: list[Tensor]) -> float:
    return float(sum((a.double() - b.double()).square().sum() for a, b in zip(left, right, strict=True))) ** 0.5


#: All but those of the plain loop in which it would be compared with itself.
CELLS = [
    pytest.param(loop, precision, extra, method, id=f"{loop}-{precision}-{extra}-{method}")
    for loop, precision, extra, method in itertools.product(LOOPS, PRECISIONS, EXTRAS, METHODS)
    if loop != "plain" or extra == "accumulation"
]


# What the trainers warn of is theirs.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(("loop", "precision", "extra", "method"), CELLS)
def test_a_cell(loop: str, precision: str, extra: str, method: str) -> None:
    if loop in NEEDS:
        pytest.importorskip(NEEDS[loop])
    setting = Setting(precision, extra)
    net = make_net(setting)
    sentence = REFUSED.get((loop, precision, extra), {}).get(method)
    if sentence is not None:
        with pytest.raises(Exception, match=re.escape(sentence)):
            LOOPS[loop](net, METHODS[method], setting)
        return
    before, expected = truth(method, precision, setting.clips)
    optimizer = LOOPS[loop](net, METHODS[method], setting)
    assert sum(optimizer.outcomes.values()) == 20
    ends = optimizer.outcomes.get(Outcome.WINDOW_ENDED, 0)
    assert (ends > 1) == (method == "Auto"), "Its windows end, and steps of the next one's scale follow."
    error = distance([p.detach() for p in net.parameters()], expected) / distance(before, expected)
    assert error <= ALLOWED[precision]


def table() -> str:
    """The cells as the page shows them: which methods work."""
    columns = [(p, e) for p in ("float64", "fp16") for e in EXTRAS]
    for loop in LOOPS:
        for extra in EXTRAS:
            assert REFUSED.get((loop, "float64", extra)) == REFUSED.get((loop, "bf16", extra)), "They share a column."

    def cell(loop: str, precision: str, extra: str) -> str:
        working = [name for name in METHODS if name not in REFUSED.get((loop, precision, extra), {})]
        return "all" if len(working) == len(METHODS) else ", ".join(working) or "none"

    head = ["loop", "plain", "accumulation", "clipping", "fp16", "fp16, accumulation", "fp16, clipping"]
    rows = [[loop, *(cell(loop, p, e) for p, e in columns)] for loop in LOOPS]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def test_the_page_shows_these_cells() -> None:
    assert table() in PAGE.read_text(encoding="utf-8"), f"docs/loops.md should hold:\n{table()}"
