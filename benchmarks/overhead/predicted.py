"""What `curvestep.doctor` counts beforehand: the products of a step, over those of a plain one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final

import curvestep
from benchmarks.overhead.cases import Case
from curvestep.diagnostics.products import count_products
from curvestep.engine.passes.cut.find import find_cut

Pass = Literal["auto", "naive", "polarised", "quarter", "again", "quarter again"]


@final
@dataclass(frozen=True)
class Predicted:
    """Multiply-adds over those of forward and backward.

    Args:
        forward: of a forward; None where the count is not whole.
        tangents: of the passes; empty where the count is not whole.
    """

    forward: float | None
    tangents: Mapping[str, float]

    def measured(self, kind: Pass) -> float | None:
        """A step with that pass; None where the count is not whole."""
        tangent = self.tangents.get(kind)
        return None if tangent is None else 1.0 + tangent


def count(case: Case) -> Predicted:
    """Count on a recording of the case's own loss in each setting.

    Args:
        case: whose gradients are cleared.

    Returns:
        The ratios.
    """
    forward: float | None = None
    tangents: dict[str, float] = {}
    settings: tuple[tuple[str, str, Literal["auto", "naive", "polarised"], Literal["keep", "split"]], ...] = (
        ("auto", "quarter", "auto", "keep"),
        ("naive", "", "naive", "keep"),
        ("polarised", "", "polarised", "keep"),
        ("again", "quarter again", "auto", "split"),
    )
    for whole, part, products, memory in settings:
        for p in case.parameters:
            p.grad = None
        with curvestep.record(products=products, memory=memory) as tape:
            case.loss().backward()
        moving = {tape.recording.leaves[id(p)][1] for p in case.parameters if id(p) in tape.recording.leaves}
        found = count_products(tape.recording, tape.plan, moving)
        work = found.forward_multiply_adds + found.gradient_multiply_adds
        if found.uncounted or not work:
            tape.release()
            return Predicted(None, {})
        forward = found.forward_multiply_adds / work
        again = found.forward_multiply_adds if memory == "split" else 0
        tangents[whole] = (found.tangent_multiply_adds + again) / work
        if part:
            # Where samples mix the tape is not cut: the whole batch is measured.
            share = 1.0 if find_cut(tape.recording, tape.recording.root, moving, "exact").reason else 0.25
            less = count_products(tape.recording, tape.plan, moving, share)
            tangents[part] = share * (less.tangent_multiply_adds + again) / work
        tape.release()
    for p in case.parameters:
        p.grad = None
    return Predicted(forward, tangents)
