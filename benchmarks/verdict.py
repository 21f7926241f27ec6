"""What became of a claim, and a page of such verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Verdict:
    """What became of a claim.

    Args:
        claim: one sentence.
        rule: when it counts as held; fixed before the runs.
        held: whether it does; None while runs are missing.
        table: the numbers, Markdown.
        remark: what else the numbers say.
    """

    claim: str
    rule: str
    held: bool | None
    table: str
    remark: str = ""

    @property
    def word(self) -> str:
        """The verdict."""
        return "not measured yet" if self.held is None else "held" if self.held else "not held"


def verdict_page(head: Sequence[str], found: Sequence[Verdict]) -> str:
    """The page: its beginning, then a section a verdict.

    Args:
        head: the lines before the first verdict.
        found: the verdicts.

    Returns:
        Markdown.
    """
    out = [*head, ""]
    for verdict in found:
        out += [f"## {verdict.claim}", "", f"**{verdict.word}.** {verdict.rule}", "", verdict.table]
        if verdict.remark:
            out += ["", verdict.remark]
        out.append("")
    return "\n".join(out)
