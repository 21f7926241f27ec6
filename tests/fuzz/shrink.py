"""A failing program made small: fewer steps and plainer modes that fail in the same kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.fuzz.oracle import examine
from tests.fuzz.programs import Mode, Program


def shrink(program: Program, kind: str, rounds: int = 200) -> Program:
    """The smallest program found that has a fault of this kind, after at most so many trials."""
    found = True
    while found:
        found = False
        for smaller in _smaller(program):
            rounds -= 1
            if rounds < 0:
                return program
            if _fails(smaller, kind):
                program, found = smaller, True
                break
    return program


def _smaller(program: Program) -> Iterator[Program]:
    """Each one step away, the largest changes first."""
    for step in reversed(program.steps):
        inputs = [step.a, *(str(v) for v in step.fields.values() if str(v) in program.names())]
        for value in dict.fromkeys(inputs):
            yield program.without(step, value)
    if program.penalty is not None:
        yield replace(program, penalty=None).used()
    if program.reduction == "sum":
        yield replace(program, reduction="mean")
    if program.loss.operation != "mean squares":
        yield replace(program, loss=replace(program.loss, operation="mean squares", fields={})).used()
    plain = Mode(stated=program.mode.stated)
    for name in ("memory", "products", "form", "samples", "backward", "hook"):
        if getattr(program.mode, name) != getattr(plain, name):
            yield replace(program, mode=replace(program.mode, **{name: getattr(plain, name)}))


def _fails(program: Program, kind: str) -> bool:
    """Whether the program still runs and has a fault of the kind."""
    try:
        return bool(program.params) and any(fault.kind == kind for fault in examine(program).faults)
    except Exception:  # a variation need not be a program at all
        return False
