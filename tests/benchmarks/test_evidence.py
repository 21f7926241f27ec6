"""The report: from the stores alone, with a sentence on what is wrong with them; the HTML needs nothing else."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchmarks.evidence.document import document
from benchmarks.evidence.gather import Evidence, counts, gather
from benchmarks.evidence.glance import glance, slug
from benchmarks.evidence.web import web_page
from benchmarks.paper.store import CompactRun, task_store
from benchmarks.repository import DOCS, FIGURES, STORES
from tests.benchmarks.commands import run
from tests.benchmarks.evidence_runs import Course, runs_of

_VOID = {"meta", "img", "br", "hr", "link", "input"}
_LOADS = {"src", "href", "srcset", "data", "poster", "action", "background"}


class Checker(HTMLParser):
    """Whether tags are closed in order, and where everything that is loaded or linked comes from."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.places: list[str] = []
        self.anchors: set[str] = set()
        self.images = 0

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.places += [value or "" for name, value in attrs if name in _LOADS]
        if "id" in found:
            self.wrong += [f"two of {found['id']}"] if found["id"] in self.anchors else []
            self.anchors.add(found["id"] or "")
        if tag == "img":
            self.images += 1
            self.wrong += [] if found.get("alt") else ["an image without words"]
        if tag in ("script", "link", "iframe", "object", "embed"):
            self.wrong.append(tag)
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}>")


def checked(text: str) -> Checker:
    """The page, read to its end."""
    checker = Checker()
    checker.feed(text)
    checker.close()
    return checker


@pytest.fixture(scope="module")
def stored() -> Evidence:
    return gather()


def test_the_committed_page_is_that_of_its_stores(stored: Evidence) -> None:
    text = document(stored, FIGURES, whole=False)
    assert (DOCS / "evidence.md").read_text(encoding="utf-8") == text, "run `python -m benchmarks report`"


def test_every_claim_is_there_with_its_verdict(stored: Evidence) -> None:
    text = document(stored, FIGURES, whole=True)
    assert len(stored.claims) == 12 + 2 + 3 + 8
    assert sum(counts(stored.claims).values()) == len(stored.claims)
    for claim in stored.claims:
        assert f"#### {claim.verdict.claim}\n\n**{claim.word}.** {claim.verdict.rule}\n" in text
        assert f"| {claim.verdict.claim} | **{claim.word}** |" in "\n".join(glance(stored))
        assert claim.verdict.table in text


def test_the_page_in_html_is_well_formed_and_needs_nothing_else(stored: Evidence) -> None:
    page = web_page(document(stored, FIGURES, whole=True), FIGURES)
    found = checked(page)
    assert found.wrong == [] and found.open == []
    assert not [place for place in found.places if not place.startswith(("#", "data:image/"))]
    assert {place[1:] for place in found.places if place.startswith("#")} <= found.anchors
    assert "url(" not in page and "@import" not in page and "http" not in re.sub(r"base64,[\w+/=]+", "", page)
    assert found.images >= 3 and "was not drawn yet" not in page
    assert page.count('class="chip') == 2 * len(stored.claims)
    assert "prefers-color-scheme: dark" in page and "@media print" in page
    assert web_page(document(stored, FIGURES, whole=True), FIGURES) == page


def test_links_of_the_page_lead_somewhere(stored: Evidence) -> None:
    text = document(stored, FIGURES, whole=False)
    headings = {slug(title) for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert {link[1:] for link in links if link.startswith("#")} <= headings
    assert not [link for link in links if not link.startswith("#") and not (DOCS / link.split("#")[0]).exists()]


def test_without_stores_every_part_says_that_it_has_nothing(tmp_path: Path) -> None:
    empty = gather(tmp_path)
    assert counts(empty.claims) == {"held": 0, "not held": 0, "not enough runs": 25}
    text = document(empty, tmp_path, whole=True)
    assert "figures/" not in text and checked(web_page(text, tmp_path)).wrong == []
    assert [note for note in empty.notes if note.startswith("Figure 2: 0 of ")]


def test_torn_lines_versions_and_missing_seeds_are_a_sentence_each(tmp_path: Path) -> None:
    runs = list(runs_of("fig5", lambda *_: Course(0.1)).values())
    store = task_store(tmp_path / "paper", "cifar10-vgg11")
    store.append(*(CompactRun(each) for each in runs[:-1]))
    path = tmp_path / "paper" / "cifar10-vgg11.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[0] = lines[0].replace('"revision":null', '"revision":"0123456789abcdef"')
    path.write_text("\n".join([*lines, lines[-1][:80]]), encoding="utf-8")
    notes = gather(tmp_path).notes
    torn = f"Line {len(lines) + 1} of paper/cifar10-vgg11.jsonl was skipped: it was not written to its end,"
    assert f"{torn} as after a kill." in notes
    assert [note for note in notes if note.startswith("Figure 5: 17 of 18 runs to the end and 14 of 14 tuning runs")]
    (versions,) = [note for note in notes if "revisions of the library" in note]
    assert versions.startswith("The store paper (runs of the figures, tuning included) has rows of 2 revisions")
    assert "0123456789, none noted." in versions


def test_lines_of_another_form_and_broken_files_stop_nothing(tmp_path: Path) -> None:
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "mnist-lenet.jsonl").write_text('{"compact": 9}\n', encoding="utf-8")
    (tmp_path / "paper" / "mnist-lenet.jsonl.gz").write_bytes(b"no archive")
    (tmp_path / "growth").mkdir()
    (tmp_path / "growth" / "rows.jsonl").write_text("[1]\n", encoding="utf-8")
    notes = "\n".join(gather(tmp_path).notes)
    assert "Line 1 of growth/rows.jsonl was skipped: it is not a JSON object." in notes
    assert "paper/mnist-lenet.jsonl.gz could not be read" in notes


def test_the_command_writes_both_pages_and_makes_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(STORES / "claims", tmp_path / "stores" / "claims")
    monkeypatch.chdir(tmp_path)
    run("report", "--stores", "stores", "--figures", "none", "--page", "docs/evidence.md", "--html", "one.html")
    verdicts, *written = capsys.readouterr().out.splitlines()
    assert verdicts == "2 held, 1 not held, 22 not enough runs" and written == ["docs/evidence.md", "one.html"]
    page = Path("docs/evidence.md").read_text(encoding="utf-8")
    assert (
        "LQA takes nearly the greatest decrease" in page
        and "| claims | line searches beside LQA's steps | 282 |" in page
    )
    assert checked(Path("one.html").read_text(encoding="utf-8")).wrong == []
    assert sorted(path.name for path in Path("stores").iterdir()) == ["claims"]
