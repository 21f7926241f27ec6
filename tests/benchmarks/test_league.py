"""The league: its score in closed form, its split, its runs, and its page against its store."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.league.figure import write_figures
from benchmarks.league.methods import ADAMW
from benchmarks.league.page import SEEDS, document, scores
from benchmarks.league.problems import FIFTH, FRESH, LATER, PROBLEMS
from benchmarks.league.score import Key, calibrated, score
from benchmarks.league.split import HALVES, draw, half
from benchmarks.league.trial import Trial
from benchmarks.repository import DOCS, STORES
from curvestep.bench.store import Store
from tests.benchmarks.commands import refuse, run


def _trial(problem: str, method: str, seed: int, losses: tuple[float, ...], pace: float = 1.0) -> Trial:
    """A trial whose looks are at steps 10, 20, … and at ``pace`` seconds a step."""
    curve = tuple((10 * i, 10 * i * pace, loss) for i, loss in enumerate(losses, 1))
    return Trial(problem, method, seed, 1.0, 10 * len(losses), curve, {})


def _by_key(trials: list[Trial]) -> dict[Key, Trial]:
    return {trial.key: trial for trial in trials}


@pytest.fixture
def small() -> dict[Key, Trial]:
    """Two problems, one seed: AdamW's middle rate is the best on "a" (1), the highest on "b" (2)."""
    trials: list[Trial] = []
    for place, method in enumerate(ADAMW):
        last = 1.0 if place == 2 else 4.0
        trials.append(_trial("a", method, 0, (8.0, 4.0, 2.0 if place == 2 else 4.0, last)))
        last = 2.0 if place == 4 else 4.0
        trials.append(_trial("b", method, 0, (8.0, 4.0, 3.0 if place == 4 else 4.0, last)))
    trials.append(_trial("a", "fast", 0, (1.5, 0.9, 0.7, 0.5), pace=10.0))
    trials.append(_trial("b", "fast", 0, (9.0, 9.0, 9.0, math.inf)))
    return _by_key(trials)


def test_ratios_and_their_mean(small: dict[Key, Trial]) -> None:
    found = score(small, ("a", "b"), ("fast",), (0,))
    assert found.best == {"a": ADAMW[2], "b": ADAMW[4]}
    assert found.ratios["fast"] == {"a": 0.5, "b": math.inf}
    assert found.geometric["fast"] == pytest.approx(math.sqrt(0.5 * 10.0))  # a divergence counts as 10
    assert found.worst["fast"] == math.inf
    # The lowest looks are 0.5 and, before it diverged, 9; those of AdamW 1 and 2.
    assert found.stopped["fast"] == (pytest.approx(math.sqrt(0.5 * 9.0 / 2.0)), 4.5)
    assert calibrated(found) == ADAMW[2]  # √(1 · 2), the others √(4 · 2) and √(4 · 1)


def test_the_profile_is_the_mean_share_within_a_ratio(small: dict[Key, Trial]) -> None:
    found = score(small, ("a", "b"), ("fast",), (0,))
    # a: target 2; fast at step 10 and second 100, AdamW's best at step 30 and second 30.
    # b: target 3, which AdamW's best alone arrives at.
    assert found.profile_steps["fast"] == pytest.approx(0.5 * (4 - 1) / 3)
    assert found.profile_seconds["fast"] == pytest.approx(0.5 * (4 - 100 / 30) / 3)
    assert found.profile_steps[ADAMW[2]] == pytest.approx(0.5 * (4 - 3) / 3)
    assert found.profile_steps[ADAMW[4]] == pytest.approx(0.5 * (4 - 1) / 3)
    assert found.profile_steps[ADAMW[0]] == 0.0


def test_the_split_is_the_one_that_was_drawn() -> None:
    assert draw() == {row.name: list(half(row.name)) for row in HALVES}


def test_every_problem_is_in_one_half() -> None:
    assert sorted(name for row in HALVES for name in half(row.name)) == sorted(PROBLEMS)
    assert half("fresh") == tuple(sorted(row.name for row in FRESH))
    assert half("later") == tuple(sorted(row.name for row in LATER))
    assert half("fifth") == tuple(sorted(row.name for row in FIFTH))
    assert [len(half(row.name)) for row in HALVES] == [16, 16, 16, 15, 15]


def test_a_trial_survives_its_line() -> None:
    trial = _trial("a", "b", 0, (1.0, math.inf))
    assert Trial.from_json(trial.to_json()) == trial
    with pytest.raises(ValueError, match="fields are not those of a trial"):
        Trial.from_json({"curve": []})


def test_the_page_of_what_is_not_whole_says_so(small: dict[Key, Trial], tmp_path: Path) -> None:
    begun = {**small, **_by_key([_trial(p, "auto", 0, (1.0,)) for p in ("heat", "poisson")])}
    assert document(begun).count("Its runs are not whole") == 2
    assert write_figures(small, tmp_path) == ()


def test_the_page_says_what_the_store_holds() -> None:
    trials = _by_key(list(Store(STORES / "league" / "trials.jsonl", Trial).read()))
    assert (DOCS / "league.md").read_text(encoding="utf-8") == document(trials)


def test_a_half_stands_on_the_page_once_something_ran_on_it(small: dict[Key, Trial]) -> None:
    def headings(trials: dict[Key, Trial]) -> list[str]:
        return [line for line in document(trials).split("\n") if line.startswith("## The") and line.endswith("half")]

    assert headings(small) == []
    begun = dict(small)
    shown: list[str] = []
    looked_at = {"poisson": "design", "logistic": "test", "heat": "fresh", "hinge": "later", "highway": "fifth"}
    for problem, name in looked_at.items():
        begun.update(_by_key([_trial(problem, "auto", 0, (1.0,))]))
        shown.insert(0, f"## The {name} half")
        assert headings(begun) == shown


@pytest.mark.parametrize("name", ["design", "fresh", "fifth"])
def test_the_figures_show_every_scored_method(name: str, tmp_path: Path) -> None:
    names = ("auto", *ADAMW)
    trials = _by_key([_trial(p, m, s, (2.0, 1.0)) for p in half(name) for m in names for s in SEEDS])
    assert scores(trials, "test") is None
    assert f"\n## The {name} half\n" in document(trials)
    files = sorted(path.name for path in write_figures(trials, tmp_path))
    assert files == [f"league-{name}.png", f"league-{name}.svg"]
    assert "| **auto** | 1.000 | 1.000 | 1.000 (1.000) |" in document(trials)


@pytest.mark.filterwarnings("ignore")
def test_a_run_goes_on_where_the_store_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    where = ("--out=kept", "--page=page.md", "--seeds=1", "--problems=least-squares", "--scale=0.02")
    run("league", "--methods=auto-uncurved", *where)
    assert "[1/1] least-squares auto-uncurved" in capsys.readouterr().out
    run("league", "--methods=auto-uncurved,adamw", "--time-limit=0", *where)
    said = capsys.readouterr().out
    assert "The time limit left 5 runs undone" in said and "least-squares" not in said
    assert len(Store(tmp_path / "kept" / "trials.jsonl", Trial).read()) == 1


def test_a_store_without_trials_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refuse(capsys, "league", "--render", f"--out={tmp_path}", f"--page={tmp_path / 'page.md'}")
    assert "has no trial to show" in said
    said = refuse(capsys, "league", "--methods=adam", f"--out={tmp_path}", f"--page={tmp_path / 'page.md'}")
    assert "There is no method 'adam'" in said
