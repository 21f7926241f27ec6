"""The site: every page is in its navigation, every link leads somewhere, refusals are read from the source.

`make site` builds it, and refuses what these tests look for and more; they need none of its packages.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs" / "site"))

import refusals  # noqa: E402

PAGES = sorted(path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")])
FOUND = refusals.refusals()


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as MkDocs and the hosts of repositories make them."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    heads = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    slugs = {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", head.lower()).strip()) for head in heads}
    return slugs | set(re.findall(r"^::: (\S+)$", text, flags=re.MULTILINE))


@pytest.mark.parametrize("path", PAGES, ids=[path.relative_to(ROOT).as_posix() for path in PAGES])
def test_every_link_of_a_page_leads_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    dead = []
    for link in re.findall(r"\]\(((?![a-z]+:)[^)\s]+)\)", text):
        target, _, anchor = link.partition("#")
        place = (path.parent / target).resolve() if target else path
        if target.endswith("refusals.md"):  # made when the site is
            continue
        # ℓ is written l by one of them, and kept by the other
        if not place.exists() or (
            anchor and anchor not in anchors(place) | {a.replace("ℓ", "l") for a in anchors(place)}
        ):
            dead.append(link)
    assert not dead


def test_every_page_is_in_the_navigation() -> None:
    shown = set(
        re.findall(r"- (?:\w+: )?([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    )
    made = {"index.md", "examples.md", "contributing.md", "changelog.md", "refusals.md"}
    assert shown - made == {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}


def test_every_refusal_is_found_and_is_a_sentence() -> None:
    raised = {each.kind for each in FOUND}
    assert {"CurvestepError", "RecordingError", "MissingRuleError", "DirectionError", "SampleAxisError"} <= raised
    sentences = [each for each in FOUND if each.text.strip("… ")]
    assert len(sentences) > 150 and len(FOUND) - len(sentences) < 15
    for each in sentences:
        if each.kind not in {"ValueError", "UserWarning"}:
            assert each.text[-1] in ".…)" or each.text.endswith("(closure)"), f"{each.place}: {each.text}"


def test_what_the_page_of_troubles_quotes_is_what_the_package_says() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    said = "\n".join(each.text for each in FOUND)
    quoted = re.findall(r"“([^”]+)”", page)
    assert len(quoted) >= 6
    missing = [quote for quote in quoted if not re.search(re.escape(" ".join(quote.split())).replace("…", ".*"), said)]
    assert not missing
