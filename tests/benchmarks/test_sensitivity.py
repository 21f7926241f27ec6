"""The sensitivity: what is varied, how a width is read off a curve, and the page."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import curvestep
from benchmarks.overhead.row import Machine
from benchmarks.repository import STORES, rows
from benchmarks.sensitivity import plan
from benchmarks.sensitivity.execute import make_runs, row_of
from benchmarks.sensitivity.figure import write_figure
from benchmarks.sensitivity.page import default_ratio, page
from benchmarks.sensitivity.plan import SUBJECTS, VALUES, Case, cases
from benchmarks.sensitivity.row import SensitivityRow, case_key
from benchmarks.sensitivity.subjects import method
from benchmarks.sensitivity.width import Curve, curve, width
from curvestep.bench.methods.ceiling_adam import CeilingAdam
from curvestep.bench.methods.method import BuildRequest
from curvestep.bench.record import DIVERGED, FINISHED
from curvestep.bench.store import Store
from curvestep.steprules import CurvatureRescaling, NoiseBalance, Windows
from tests.bench.synthetic import record

ROOT = Path(__file__).resolve().parents[2]
_SGD = next(subject for subject in SUBJECTS if subject.name == "sgd")


def made(loss: float, task: str = "digits-mlp", **changes: object) -> list[SensitivityRow]:
    """A row of every case of a task with this loss."""
    return [
        replace(
            SensitivityRow(
                *case_key(case), FINISHED, 220, loss, 2 * loss, 0.9, 1.0, machine="one", data="d", revision="r"
            ),
            **changes,
        )
        for case in cases(task)
    ]


def test_every_method_is_given_the_same_nine_decades() -> None:
    assert len(VALUES) == 19 and math.log10(VALUES[-1] / VALUES[0]) == pytest.approx(9.0)
    steps = [math.log10(b / a) for a, b in zip(VALUES, VALUES[1:], strict=False)]
    assert steps == pytest.approx([0.5] * 18, abs=1e-6)  # values have six digits
    assert len({case_key(case) for case in cases("digits-mlp")}) == len(SUBJECTS) * 19 * plan.SEEDS
    for subject in SUBJECTS:
        assert subject.default is None or VALUES[0] < subject.default < VALUES[-1]


@pytest.mark.parametrize(("name", "own"), [("auto", curvestep.Auto), ("auto-ceiling", CeilingAdam)])
def test_at_its_default_a_subject_is_the_method(name: plan.SubjectName, own: Callable[..., Any]) -> None:
    """The same steps bit for bit, over windows' ends; from half the number half as far at first."""

    def trained(make: Callable[[list[torch.nn.Parameter]], Any]) -> tuple[torch.Tensor, float]:
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1))
        optimizer, sizes = make(list(net.parameters())), list[float]()
        for step in range(30):
            inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            with optimizer.record():
                torch.nn.functional.mse_loss(net(inputs), inputs.norm(dim=1, keepdim=True)).backward()
            optimizer.step()
            sizes.append(optimizer.last_step.step_size)
        return torch.cat([p.detach().flatten() for p in net.parameters()]), sizes[0]

    default = next(subject.default for subject in SUBJECTS if subject.name == name)
    assert default is not None
    ends, first = trained(own)
    same, _ = trained(lambda parameters: method(name).build(_request(parameters, default)).optimizer)
    assert torch.equal(ends, same)
    _, half = trained(lambda parameters: method(name).build(_request(parameters, default / 2)).optimizer)
    assert half == pytest.approx(first / 2, rel=1e-12)


def test_the_page_says_how_often_auto_changes_its_scale() -> None:
    assert (Windows().ends_within(220), Windows().ends_within(128)) == (3, 2)
    assert NoiseBalance(CurvatureRescaling()).most == 2.0
    assert "3 times in 220 calls of `step` and 2 times in 128" in page([], (), "")


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_the_number_reaches_the_method(subject: plan.Subject) -> None:
    """A first step with a tiny number is that much shorter: all of them are factors of the step, or bounds of it."""

    def moved(value: float) -> float:
        torch.manual_seed(0)
        theta = torch.nn.Parameter(torch.randn(1, 5))
        built = method(subject.name).build(_request([theta], value))
        before = theta.detach().clone()

        def closure() -> Any:
            built.optimizer.zero_grad()
            loss = (theta.square() * torch.arange(1.0, 6.0)).sum()
            loss.backward()
            return loss

        built.optimizer.step(closure)
        return (theta.detach() - before).norm().item()

    # a level below 0.05 is warned of, and a scale of Auto below a hundredth of its first step's bound is not taken;
    # rounding of parameters of order one in float32 is 1e-4 of a step of 1e-3
    least = 0.1 if subject.name.startswith("level-") or subject.name == "auto" else 1e-3
    assert moved(least) / moved(2 * least) == pytest.approx(0.5, rel=2e-3)


def _request(parameters: list[torch.nn.Parameter], value: float) -> BuildRequest:
    return BuildRequest(parameters, value, 1.0, "exponential", 0, 0.0, 10, 1)


def test_width_between_values_and_at_the_edges() -> None:
    values = (0.1, 1.0, 10.0, 100.0)
    found = Curve(values, (4.0, 1.0, 1.0, math.inf), (4.0, 1.0, 1.0, math.inf), (4.0, 1.0, 1.0, math.inf))
    near = width(found, 2.0)
    assert near is not None
    # log loss falls by log 4 over the decade from 0.1 to 1: twice the best is half of it away, and beyond 10 is a miss
    assert (near.low, near.high) == (pytest.approx(10**-0.5), 10.0) and not near.open_low and not near.open_high
    assert near.decades == pytest.approx(1.5)
    wide = width(found, 5.0)
    assert wide is not None and wide.open_low and wide.low == 0.1
    assert width(Curve(values, (math.inf,) * 4, (math.inf,) * 4, (math.inf,) * 4), 2.0) is None


def test_a_curve_has_the_values_of_which_every_seed_is_there() -> None:
    subject = SUBJECTS[0].name
    found = [row for row in made(0.1) if row.method == subject and not (row.seed == 2 and row.value == VALUES[0])]
    gone = [replace(row, train=None) if row.seed == 1 and row.value == VALUES[-1] else row for row in found]
    drawn = curve(gone, "digits-mlp", subject, "train")
    assert drawn.values == VALUES[1:]
    assert drawn.means[-1] == math.inf == drawn.highs[-1] and drawn.lows[-1] == 0.1
    assert drawn.means[0] == pytest.approx(0.1)


def test_default_between_two_values() -> None:
    subject = SUBJECTS[0]  # ½ lies between 0.316 and 1
    means = tuple(4.0 if value > subject.default else 1.0 for value in VALUES)  # pyright: ignore[reportOperatorIssue]
    share = math.log(0.5 / VALUES[11]) / math.log(VALUES[12] / VALUES[11])
    assert default_ratio(subject, Curve(VALUES, means, means, means)) == pytest.approx(4.0**share)
    assert default_ratio(SUBJECTS[-1], Curve(VALUES, means, means, means)) is None


def test_a_divergence_is_a_miss_and_is_kept() -> None:
    case = Case("digits-mlp", _SGD, 1000.0, 0)
    row = row_of(case, record(diverged_at=7), "one")
    assert (row.status, row.steps, row.train, row.test) == (DIVERGED, 7, None, None)


def test_runs_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "SEEDS", 1)
    monkeypatch.setattr(plan, "VALUES", (0.1,))
    monkeypatch.setattr(plan, "SUBJECTS", [_SGD])
    monkeypatch.setitem(plan.WISHES, "digits-mlp", plan.Wish("digits-mlp", scale="small", epochs=1))
    store, machines = rows(tmp_path, SensitivityRow), Store(tmp_path / "machines.jsonl", Machine)
    said: list[str] = []
    for _ in range(2):
        make_runs(["digits-mlp"], store, machines, said.append)
    (row,) = store.read()
    assert (row.method, row.value, row.status, row.steps) == ("sgd", 0.1, FINISHED, 10)
    assert said[0] == "1 runs to make" and said[-1] == "0 runs to make" and len(machines.read()) == 1


def test_page_and_figure_with_nothing_and_with_everything(tmp_path: Path) -> None:
    everything = [*made(0.1), *made(0.2, "mnist-lenet")]
    everything[0] = replace(everything[0], train=None, test=None, status=DIVERGED)
    for found in ([], everything):
        text = page(found, (), "figures/sensitivity.png")
        assert ("runs are not there yet" in text) is not found and "![loss at the end" in text
        drawn = write_figure(found, tmp_path / "sensitivity")
        assert [path.name for path in drawn] == ["sensitivity.png", "sensitivity.svg"]
    # three widths of each method on each task; a value of which a seed is missing is on no curve
    text = page(everything[1:], (), "")
    assert (text.count("≥ 9.00"), text.count("≥ 8.50")) == (2 * 3 * len(SUBJECTS) - 3, 3)


def test_the_committed_page_is_that_of_its_rows() -> None:
    store = rows(STORES / "sensitivity", SensitivityRow)
    machines = Store(STORES / "sensitivity" / "machines.jsonl", Machine)
    text = page(store.read(), machines.read(), "figures/sensitivity.png")
    assert (ROOT / "docs" / "sensitivity.md").read_text(encoding="utf-8") == text
    assert (ROOT / "docs" / "figures" / "sensitivity.svg").exists()
