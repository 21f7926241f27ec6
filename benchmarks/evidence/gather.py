"""Reads every store that the evidence rests on, and says what is wrong with each in a sentence; no run is made."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, final

from benchmarks.claims import page as claims_page
from benchmarks.claims.look import Look, look_store
from benchmarks.evidence.claims import mnist_verdicts, paper_verdicts
from benchmarks.growth.row import ExchangeRow, GrowthRow
from benchmarks.overhead.row import Machine
from benchmarks.paper.parts import MNIST
from benchmarks.paper.plan import Figure, ScaleName, all_lines, figures
from benchmarks.paper.store import line_runs, read_runs, tuning_runs
from benchmarks.paper.times import TimeRow, times_store
from benchmarks.regimes import page as regimes_page
from benchmarks.regimes.row import RegimeRow
from benchmarks.repository import STORES, rows
from benchmarks.sensitivity.row import SensitivityRow
from benchmarks.verdict import Verdict
from curvestep.bench.errors import StoreError, StoreWarning
from curvestep.bench.record import FINISHED, RunRecord, run_store
from curvestep.bench.store import Store

T = TypeVar("T")


@final
@dataclass(frozen=True)
class Claim:
    """A claim with what became of it.

    Attributes:
        group: "paper", "mnist", "sources" or "regimes".
        place: figure or table of the source that it is read off; the title's beginning elsewhere.
        verdict: what became of it.
    """

    group: str
    place: str
    verdict: Verdict

    @property
    def word(self) -> str:
        """The verdict."""
        return "not enough runs" if self.verdict.held is None else self.verdict.word


@final
@dataclass(frozen=True)
class StoreLine:
    """What one store holds.

    Attributes:
        name: below `benchmarks/stores`.
        holds: in words.
        count: number of its rows.
        diverged: how many of them diverged; None where rows are no runs.
        revisions: of the library, the first ten digits.
    """

    name: str
    holds: str
    count: int
    diverged: int | None
    revisions: tuple[str, ...]


@final
@dataclass(frozen=True)
class Evidence:
    """Everything that the stores say.

    Attributes:
        scale: of the paper's runs.
        claims: all of them.
        stores: what there is.
        notes: what is wrong with stores, a sentence each.
        paper: runs of the figures, by key.
        times: rows of table 3.
        regimes, sensitivity, growth, exchanges, machines: rows of the other stores.
        environments: versions and processors that the runs name, each once.
    """

    scale: ScaleName
    claims: tuple[Claim, ...]
    stores: tuple[StoreLine, ...]
    notes: tuple[str, ...]
    paper: Mapping[str, RunRecord]
    times: tuple[TimeRow, ...]
    regimes: tuple[RegimeRow, ...]
    sensitivity: tuple[SensitivityRow, ...]
    growth: tuple[GrowthRow, ...]
    exchanges: tuple[ExchangeRow, ...]
    machines: tuple[Machine, ...]
    environments: tuple[Mapping[str, Any], ...]


def gather(folder: Path = STORES, scale: ScaleName = "small") -> Evidence:
    """Read all stores.

    Args:
        folder: of the stores; one that is missing has no rows.
        scale: of the paper's runs.

    Returns:
        What they say.
    """
    reader = _Reader(folder)
    paper = reader.mapping("paper", lambda path: read_runs(path))
    times = reader.rows("paper", times_store)
    mnist = reader.mapping("paper-scale", lambda path: read_runs(path, ["mnist-lenet"]))
    large = tuple(mnist.values())
    looks: tuple[Look, ...] = reader.rows("claims", look_store)
    runs: tuple[RunRecord, ...] = reader.rows("claims", run_store)
    regimes = reader.rows("regimes", lambda path: rows(path, RegimeRow))
    sensitivity = reader.rows("sensitivity", lambda path: rows(path, SensitivityRow))
    growth = reader.rows("growth", lambda path: rows(path, GrowthRow))
    exchanges = reader.rows("growth", lambda path: Store(path / "exchanges.jsonl", ExchangeRow))
    machines = [
        *reader.rows("sensitivity", lambda path: Store(path / "machines.jsonl", Machine)),
        *reader.rows("growth", lambda path: Store(path / "machines.jsonl", Machine)),
    ]
    claims = [Claim("paper", place, verdict) for place, verdict in paper_verdicts(scale, paper, times)]
    claims += [Claim("mnist", "fig2", verdict) for verdict in mnist_verdicts(mnist)]
    names = ("LQA", "ALI-G", "EG")
    found = claims_page.verdicts(looks, runs)
    claims += [Claim("sources", place, verdict) for place, verdict in zip(names, found, strict=True)]
    claims += [Claim("regimes", "regimes", verdict) for verdict in regimes_page.verdicts(regimes)]
    own = [run for run in paper.values() if run.config.scale != "paper" or scale == "paper"]
    stores = (
        _line("paper", "runs of the figures, tuning included", own, own),
        _line("paper", "times of table 3", times),
        _line("paper-scale", "runs of MNIST at the source's scale, tuning included", large, large),
        _line("claims", "line searches beside LQA's steps", looks),
        _line("claims", "runs of ALI-G, of the exponentiated gradient, and of SGD beside them", runs, runs),
        _line("regimes", "short runs where the source leaves a question", regimes),
        _line("sensitivity", "runs over nine decades of each method's number", sensitivity, sensitivity),
        _line("growth", "steps on growing models", growth),
        _line("growth", "exchanges between two processes", exchanges),
    )
    missing = _missing(figures(scale), paper)
    missing += [*_missing(MNIST.figures("paper"), mnist, " on MNIST at the source's scale"), *_versions(stores)]
    environments = _environments([*own, *large, *runs], machines)
    return Evidence(
        scale, tuple(claims), stores, (*reader.notes, *missing), paper, times, regimes, sensitivity, growth, exchanges,
        tuple({machine.machine: machine for machine in machines}.values()), environments,
    )  # fmt: skip


class _Reader:
    """Reads stores, and keeps the warnings of each as sentences."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes: list[str] = []

    def rows(self, name: str, make: Callable[[Path], Store[Any]]) -> tuple[Any, ...]:
        """The rows of a store; none where it cannot be read."""
        return self._read(lambda: make(self.folder / name).read(), ())

    def mapping(self, name: str, read: Callable[[Path], Mapping[str, RunRecord]]) -> Mapping[str, RunRecord]:
        """The runs of a store of several files."""
        return self._read(lambda: read(self.folder / name), {})

    def _read(self, read: Callable[[], T], empty: T) -> T:
        """What there is; skipped lines and a store that cannot be read leave a sentence."""
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always", StoreWarning)
            try:
                found = read()
            except StoreError as error:
                found = empty
                self.notes.append(self._placed(str(error)))
        self.notes += [self._placed(str(each.message)) for each in seen if issubclass(each.category, StoreWarning)]
        return found

    def _placed(self, text: str) -> str:
        """The sentence with paths as seen from the stores."""
        return text.replace(f"{self.folder}{os.sep}", "")


def _line(name: str, holds: str, found: Sequence[Any], runs: Sequence[Any] | None = None) -> StoreLine:
    """The line of a store."""
    revisions = dict.fromkeys((row.revision or "none noted")[:10] for row in found if hasattr(row, "revision"))
    diverged = None if runs is None else sum(row.status != FINISHED for row in runs)
    return StoreLine(name, holds, len(found), diverged, tuple(revisions))


def _missing(plan: Mapping[str, Figure], paper: Mapping[str, RunRecord], where: str = "") -> list[str]:
    """Sentences on figures whose runs are not all there."""
    notes: list[str] = []
    for name, figure in plan.items():
        lines = all_lines((figure,))
        runs = sum(len(line_runs(line, paper)) for line in lines)
        wanted = sum(len(line.runs(line.tuning()[0] if line.tuned else None)) for line in lines)
        tuned, grid = sum(len(tuning_runs(line, paper)) for line in lines), sum(len(line.tuning()) for line in lines)
        if runs < wanted or tuned < grid:
            number = name.removeprefix("fig")
            notes.append(
                f"Figure {number}{where}: {runs} of {wanted} runs to the end and {tuned} of {grid} tuning runs are "
                "there; a line is drawn with the seeds that it has, and judged with all of them or not at all."
            )
    return notes


def _versions(stores: Sequence[StoreLine]) -> list[str]:
    """Sentences on stores whose rows come from several revisions."""
    return [
        f"The store {line.name} ({line.holds}) has rows of {len(line.revisions)} revisions of the library: "
        f"{', '.join(line.revisions[:4])}{', …' if len(line.revisions) > 4 else ''}."
        for line in stores
        if len(line.revisions) > 1
    ]


def _environments(runs: Sequence[RunRecord], machines: Sequence[Machine]) -> tuple[Mapping[str, Any], ...]:
    """Each environment once, without what says nothing."""
    found: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for environment in [*(run.environment for run in runs), *(machine.environment for machine in machines)]:
        kept = {name: value for name, value in environment.items() if value is not None}
        found[tuple(sorted((name, str(value)) for name, value in kept.items()))] = kept
    return tuple(found[key] for key in sorted(found))


def counts(claims: Sequence[Claim]) -> dict[str, int]:
    """How many claims were held, not held, and lack runs."""
    words = ("held", "not held", "not enough runs")
    return {word: sum(claim.word == word for claim in claims) for word in words}


def share_of_runs(evidence: Evidence) -> float:
    """The share of the runs of the paper's plan that is there."""
    lines = all_lines(tuple(figures(evidence.scale).values()))
    wanted = sum(len(line.runs(line.tuning()[0] if line.tuned else None)) + len(line.tuning()) for line in lines)
    there = sum(len(line_runs(line, evidence.paper)) + len(tuning_runs(line, evidence.paper)) for line in lines)
    return there / wanted if wanted else math.nan
