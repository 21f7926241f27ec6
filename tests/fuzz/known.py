"""Faults of the fuzzer's finds that have a cause on the list already, each with the finding that stands for it.

A find is known where its kind and its shrunk program match both patterns. Who mends a finding removes its lines here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """A cause: patterns of the fault's kind and of the program's text, and the finding in `tests.fuzz.attack`."""

    kind: str
    program: str
    finding: str


KNOWN: tuple[Known, ...] = (
    Known(r"rows", r"pool|group_norm|F\.pad", "attack 14"),
    Known(r"total|slope|loss_along|hvp", r"loss\.backward\(one\)", "attack 7"),
    Known(r"rows", r"attention|baddbmm|batch_norm|binary_cross_entropy", "attack 12"),
    Known(r"number of rows", r"", "attack 27"),
    Known(r"total|hvp|slope|rows", r"memory=(0|0\.5|'split'),", "attack 6"),
    Known(r"rows", r"scatter", "fuzz 1"),
    Known(r"rows", r"_loss\(p\d+, [xi]|cross_entropy\(p\d+", "fuzz 1"),
    Known(r"rows", r"addmm", "fuzz 2"),
    Known(r"rows", r"c\d+ = normal", "fuzz 3"),
)


def known(kind: str, text: str) -> str | None:
    """The finding that a find belongs to, or None for a new one."""
    for cause in KNOWN:
        if re.search(cause.kind, kind) and re.search(cause.program, text):
            return cause.finding
    return None
