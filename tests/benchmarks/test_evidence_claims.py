"""The verdicts on the curvature paper are read off its runs, can go either way, and wait for all of them."""

from __future__ import annotations

import math

import pytest

from benchmarks.evidence.claims import paper_verdicts
from benchmarks.evidence.claims.average import average_verdict, risen
from benchmarks.evidence.claims.batches import collapse_verdict, repair_verdict
from benchmarks.evidence.claims.momentum import descent_verdict, struggle_verdict
from benchmarks.evidence.claims.phases import PHASES, phase_verdict, phases
from benchmarks.evidence.claims.probe import probe_verdict
from benchmarks.evidence.claims.rivals import decay_verdict, step_tuned_verdict
from benchmarks.evidence.claims.seconds import seconds_verdict
from benchmarks.evidence.claims.training import growing_step_verdict, training_verdict
from benchmarks.paper.plan import Line, Panel, figures
from benchmarks.paper.times import SOURCE, TimeRow
from curvestep.schedules.ran import PHASES as TAKEN
from tests.benchmarks.evidence_runs import Course, made, runs_of

PANELS = figures("small")["fig2"].panels


def test_without_runs_nothing_is_judged_and_every_claim_says_what_it_lacks() -> None:
    found = paper_verdicts("small", {}, ())
    assert [verdict.held for _, verdict in found] == [None] * 12
    assert all(verdict.remark.startswith("Not enough runs: ") for _, verdict in found)


@pytest.mark.parametrize(("loss", "held"), [(0.11, True), (0.1101, False), (0.01, True), (None, False)])
def test_training(loss: float | None, held: bool) -> None:
    runs = runs_of("fig2", lambda _, line: Course(loss) if line.method.startswith("red") else Course(0.1))
    verdict = training_verdict(PANELS, runs)
    assert verdict.held is held
    assert f"Level in {8 if held else 0} of 8 pairs." in verdict.remark
    if loss is None:
        assert "| 3 of 3 diverged |" in verdict.table and "| ∞ |" in verdict.table


def test_training_of_which_a_line_is_missing() -> None:
    def rule(panel: Panel, line: Line) -> Course | None:
        return None if (panel.title, line.method) == ("mnist-lenet", "sgd") else Course(0.1)

    verdict = training_verdict(PANELS, runs_of("fig2", rule))
    assert verdict.held is None and verdict.remark.endswith("Not enough runs: sgd on mnist-lenet (0 of 3 seeds).")
    worse = runs_of("fig2", lambda p, line: rule(p, line) and Course(1.0 if line.method == "red-sgd" else 0.1))
    assert training_verdict(PANELS, worse).held is False, "what is there refutes it"


def test_a_grid_that_diverged_throughout_is_a_miss() -> None:
    line = next(each for each in figures("small")["fig2"].panels[0].lines if each.method == "sgd")
    runs = runs_of("fig2", lambda panel, other: None if other == line else Course(0.1))
    runs.update({config.key: made(config, Course(loss=None)) for config in line.tuning()})
    verdict = training_verdict(PANELS, runs)
    assert verdict.held is True
    assert "| mnist-lenet | red-sgd | 0.100 (0.100–0.100) | sgd | 1 of 1 diverged | 0.00 |" in verdict.table


def test_seeds_that_are_there_are_shown_while_others_are_missing() -> None:
    runs = runs_of("fig8", lambda _, line: Course(0.1))
    line = next(each for each in figures("small")["fig8"].panels[1].lines if each.method == "red-sgd")
    del runs[line.runs()[0].key]
    verdict = decay_verdict("small", runs)
    assert verdict.held is None
    assert "| red-sgd | 0.100 (0.100–0.100) | 0.100 (0.100–0.100), 2 of 3 seeds | – |" in verdict.table
    assert verdict.remark == "Not enough runs: red-sgd on cifar10-vgg11, λ = 0.0001 (2 of 3 seeds)."


@pytest.mark.parametrize(("late", "held"), [(0.2, True), (0.1, False), (0.05, False)])
def test_growing_step(late: float, held: bool) -> None:
    # 25 epochs: a quarter of them is over in the seventh
    steps = [0.1] * 6 + [late] + [0.01] * 18
    assert growing_step_verdict(PANELS, runs_of("fig2", lambda *_: Course(step=steps))).held is held


def test_phases_are_those_of_the_schedule() -> None:
    assert PHASES == TAKEN
    assert [(phase.ell, phase.start, phase.end) for phase in phases(24)] == [(1.0, 1, 5), (0.5, 5, 18), (2.0, 18, 20)]


@pytest.mark.parametrize(
    ("twice", "others", "held"), [(2.0, 0.9, True), (0.9, 0.9, False), (2.0, 1.1, False), (None, 0.9, True)]
)
def test_phases(twice: float | None, others: float, held: bool) -> None:
    losses: list[float | None] = [1.0]
    for epoch in range(1, 25):
        before = losses[-1]
        factor = twice if epoch in (18, 19) else others
        losses.append(None if before is None or factor is None else before * factor)
    verdict = phase_verdict("small", runs_of("fig3", lambda *_: Course(losses)))
    assert verdict.held is held
    assert ("| diverged | ∞ | yes |" in verdict.table) is (twice is None)


def test_a_run_that_diverges_at_a_low_level_is_not_as_claimed() -> None:
    losses: list[float | None] = [1.0] * 10 + [None] * 15
    assert phase_verdict("small", runs_of("fig3", lambda *_: Course(losses))).held is False


@pytest.mark.parametrize(
    ("zero", "last", "held"),
    [
        ([1.0, 2.0] * 12 + [1.0], 0.1, True),  # rises every other epoch
        ([1.0, 1.0] * 12 + [1.0], 0.1, False),  # never
        ([1.0] * 10 + [None] * 15, 0.1, True),
        ([1.0, 2.0] * 12 + [1.0], 0.2, False),  # the others are not equivalent
    ],
)
def test_average(zero: list[float | None], last: float, held: bool) -> None:
    def rule(_: Panel, line: Line) -> Course:
        return Course(zero) if line.label == "β₃ = 0" else Course(last if line.label == "β₃ = 0.99" else 0.1)

    assert average_verdict("small", runs_of("fig5", rule)).held is held


def test_an_epoch_rises_where_its_loss_is_a_tenth_above() -> None:
    config = figures("small")["fig5"].panels[0].lines[0].runs()[0]
    assert risen(made(config, Course([1.0, 1.09, 1.3, 0.5, *[0.5] * 21]))) == 1


@pytest.mark.parametrize(
    ("small", "mended", "collapses", "better"),
    [(0.2, 0.1, True, True), (0.2, 0.2, True, False), (0.05, 0.01, False, True), (None, 1.0, True, True)],
)
def test_batches(small: float | None, mended: float, collapses: bool, better: bool) -> None:
    def rule(panel: Panel, line: Line) -> Course:
        classes = 100 if "cifar100" in line.wish.task else 10
        if (line.wish.batch_size or 0) >= classes:
            return Course(0.1)
        return Course(mended if line.wish.task.endswith("-memory") else small)

    runs = runs_of("fig7", rule)
    assert collapse_verdict("small", runs).held is collapses
    verdict = repair_verdict("small", runs)
    assert verdict.held is better
    everywhere = "cifar10-vgg11 at 8; cifar10-vgg11 at 4; cifar100-vgg19 at 32; cifar100-vgg19 at 8"
    assert (everywhere in verdict.remark) is (mended <= 0.1)


@pytest.mark.parametrize(("one", "tenth", "share", "struggles", "descends"), [
    (0.2, 0.1, 0.6, True, True), (0.1, 0.1, 1.0, False, False), (0.2, 0.1, 1.0, True, False),
])  # fmt: skip
def test_momentum(one: float, tenth: float, share: float, struggles: bool, descends: bool) -> None:
    def rule(_: Panel, line: Line) -> Course:
        if line.method.endswith("-heavy"):
            return Course(one, descent=share)
        return Course(tenth, descent=0.995)

    runs = runs_of("fig6", rule)
    assert struggle_verdict("small", runs).held is struggles
    assert descent_verdict("small", runs).held is descends


@pytest.mark.parametrize(
    ("small", "tricks", "cosine", "held"),
    [(0.5, 0.0, 0.2, True), (0.9, 0.0, 0.05, False), (0.5, 0.05, 0.2, False), (0.5, 0.0, -0.1, False)],
)
def test_probe(small: float, tricks: float, cosine: float, held: bool) -> None:
    def rule(panel: Panel, line: Line) -> Course:
        accuracy = small if line.wish.batch_size == 64 else 0.8
        column = figures("small")["fig4"].panels.index(panel)
        gain = cosine if column == 2 and line.wish.batch_size == 64 else 0.0
        return Course(accuracy=accuracy + (tricks if column else 0.0) + gain)

    assert probe_verdict("small", runs_of("fig4", rule)).held is held


@pytest.mark.parametrize(("loss", "held"), [(0.1, True), (0.2, True), (0.05, False)])
def test_decay(loss: float, held: bool) -> None:
    runs = runs_of("fig8", lambda _, line: Course(loss if line.wish.weight_decay == 1e-4 else 0.1))
    assert decay_verdict("small", runs).held is held


@pytest.mark.parametrize(("train", "test", "held"), [(0.05, 0.3, True), (0.05, 0.1, False), (0.2, 0.3, False)])
def test_step_tuned(train: float, test: float, held: bool) -> None:
    runs = runs_of("fig9", lambda _, line: Course(train, test) if line.method == "step-tuned" else Course(0.1, 0.2))
    assert step_tuned_verdict("small", runs).held is held


@pytest.mark.parametrize(("factor", "held"), [(1.19, True), (1.21, False), (0.5, True)])
def test_seconds(factor: float, held: bool) -> None:
    rows: list[TimeRow] = []
    for task, (sgd, rmsprop, red_sgd, red_rmsprop) in SOURCE.items():
        seconds = {"sgd": sgd, "rmsprop": rmsprop, "red-sgd": factor * red_sgd, "red-rmsprop": factor * red_rmsprop}
        rows += [TimeRow(task, "small", method, [value] * 3, 10) for method, value in seconds.items()]
    verdict = seconds_verdict("small", rows)
    assert verdict.held is held
    assert seconds_verdict("small", rows[1:]).held is (None if held else False)
    assert seconds_verdict("paper", rows).held is None
    assert math.isclose(7.6 / 5.3, 1.434, abs_tol=1e-3) and "| 1.43 |" in verdict.table
