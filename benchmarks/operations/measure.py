"""Check every rule against its truths: the worst errors of each operation's rows."""

from __future__ import annotations

import warnings
from typing import Any

from benchmarks.operations.row import OperationRow
from benchmarks.repository import limit
from curvestep.diagnostics.operations import is_decomposition
from curvestep.engine.data.rule import Kind
from curvestep.engine.rules.recurrent import REFUSED
from curvestep.engine.rules.table import RULES
from tests.engine.ops import ROWS
from tests.engine.test_rules import check

_WORDS = {
    Kind.LINEAR: "exact, linear",
    Kind.MULTILINEAR: "exact, multilinear",
    Kind.NONLINEAR: "exact",
    Kind.CONSTANT: "exact, constant",
}


def covered(op: Any) -> str:
    """How the table treats an operation."""
    if str(op) in REFUSED:
        return "refused with advice"
    return "decomposition" if is_decomposition(RULES[op]) else _WORDS[RULES[op].kind]


def operations() -> list[str]:
    """The operations with a rule, by name."""
    return sorted(map(str, RULES))


def measure() -> list[OperationRow]:
    """The row of each operation."""
    totals: dict[str, list[float]] = {}
    samples: dict[str, list[float]] = {}
    for row in ROWS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = check(row, row.drawn())
        totals.setdefault(row.op, []).append(report.worst("total"))
        if all(report.exact.values()):
            samples.setdefault(row.op, []).append(report.worst("per_sample["))
    return [
        OperationRow(
            str(op),
            covered(op),
            RULES[op].kinks,
            rows=len(totals.get(str(op), ())),
            total=limit(max(totals[str(op)])) if str(op) in totals else None,
            per_sample=limit(max(samples[str(op)])) if str(op) in samples else None,
        )
        for op in sorted(RULES, key=str)
    ]
