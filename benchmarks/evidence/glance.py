"""The verdicts at a glance, and the anchors of the sections that have them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmarks.evidence.gather import Claim, Evidence, counts

#: Group of claims → its title.
GROUPS = {
    "paper": "Curvature rescaling (de Gournay, Gossard), section 4 and appendix C",
    "mnist": "Curvature rescaling at the size of the source, MNIST",
    "sources": "LQA, ALI-G and the exponentiated gradient",
    "regimes": "Regimes that the curvature paper leaves open",
}


def glance(evidence: Evidence, *, groups: Sequence[str] = tuple(GROUPS), page: str = "") -> list[str]:
    """The verdicts in a table a group, and how many there are of each.

    Args:
        evidence: of the stores.
        groups: which.
        page: path of the page that has the sections, where it is another one.

    Returns:
        Lines of Markdown.
    """
    out: list[str] = []
    for group in groups:
        own = [claim for claim in evidence.claims if claim.group == group]
        found = ", ".join(f"{count} {word}" for word, count in counts(own).items() if count)
        out += [
            f"**{GROUPS[group]}**: of {len(own)} claims {found}.",
            "",
            "| claim | verdict | read off |",
            "|---|---|---|",
        ]
        for claim in own:
            title, anchor = _place(claim)
            out.append(f"| {claim.verdict.claim} | **{claim.word}** | [{title}]({page}#{anchor}) |")
        out.append("")
    return out[:-1]


def _place(claim: Claim) -> tuple[str, str]:
    """Title and anchor of the section of a claim."""
    if claim.group == "paper":
        title = figure_title(claim.place)
        return title, slug(title)
    place = figure_title(claim.place) if claim.group == "mnist" else claim.place
    return place, slug(GROUPS[claim.group])


def figure_title(place: str) -> str:
    """`fig2` → `Figure 2`, `table3` → `Table 3`."""
    return (
        f"Table {place.removeprefix('table')}" if place.startswith("table") else f"Figure {place.removeprefix('fig')}"
    )


def slug(title: str) -> str:
    """The anchor that GitHub and MkDocs give a heading of ASCII letters, digits, blanks and punctuation.

    Args:
        title: of the heading.

    Returns:
        The anchor.

    Example:
        >>> slug("LQA, ALI-G and the exponentiated gradient"), slug("Figure 2")
        ('lqa-ali-g-and-the-exponentiated-gradient', 'figure-2')
    """
    return re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower())
