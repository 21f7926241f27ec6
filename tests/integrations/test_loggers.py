"""What is told of steps: numbers for a logger, counts of outcomes, one line; the page's own lines write them."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import curvestep
from curvestep._records import Outcome
from tests.integrations.loops import METHODS, Make
from tests.optim.problem import Problem, make_problem

PAGE = Path(__file__).resolve().parents[2] / "docs" / "loops.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
NAMES = {
    "loss",
    "slope",
    "curvature",
    "absolute_curvature",
    "lipschitz",
    "rescaling",
    "ell",
    "step_size",
    "direction_norm",
    "moved",
}
every_method = pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)


def block(text: str) -> str:
    """The page's only block with this text."""
    (found,) = [block for block in BLOCKS if text in block]
    return found


class Counter(TorchDispatchMode):
    """Counts operations, and reads of a number from a tensor among them, for which a device is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.reads = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        self.reads += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@every_method
def test_every_step_has_scalars_that_a_logger_takes(make: Make) -> None:
    problem = make_problem()
    optimizer = make(problem.net.parameters())
    for batch in range(20):
        problem.train(optimizer, range(batch, batch + 1))
        with Counter() as counter:
            scalars = optimizer.last_step.scalars()
            optimizer.summary()
        assert counter.operations == 0, "Numbers that are on the host already were asked for."
        assert {name.removeprefix("curvestep/") for name in scalars} <= NAMES
        assert all(type(value) is float and math.isfinite(value) for value in scalars.values())
        assert scalars["curvestep/step_size"] == pytest.approx(optimizer.param_groups[0]["effective_lr"])
        assert scalars["curvestep/moved"] == 1.0
        assert optimizer.last_step.scalars(prefix="").keys() == {n.removeprefix("curvestep/") for n in scalars}


def tell(optimizer: Any, *_: Any) -> None:
    optimizer.last_step.scalars()
    assert optimizer.outcomes and optimizer.summary()


def test_telling_reads_no_number_more() -> None:
    """A step reads as many numbers from tensors as before there was anything to tell, and a log none."""
    counts = []
    for logs in (False, True):
        problem = make_problem()
        optimizer = curvestep.RescaledAdam(problem.net.parameters(), lr=0.3)
        if logs:
            optimizer.register_step_post_hook(tell)
        reads = []
        for batch in range(3):
            optimizer.zero_grad()
            with optimizer.record():
                problem.loss(batch).backward()
            with Counter() as counter:
                optimizer.step()
            reads.append(counter.reads)
        counts.append(reads)
    assert counts[0] == counts[1]


def skip_once(problem: Problem, optimizer: Any) -> None:
    optimizer.zero_grad()
    with optimizer.record():
        (problem.loss(0) * math.nan).backward()
    optimizer.step()


@pytest.mark.parametrize("name", [name for name in METHODS if name != "EGStepSize"])
def test_outcomes_are_counted_and_saved(name: str) -> None:
    problem = make_problem()
    optimizer = METHODS[name](problem.net.parameters())
    assert optimizer.outcomes == {} and optimizer.summary().endswith("no step yet")
    problem.train(optimizer, range(5))
    early = optimizer.state_dict()
    skip_once(problem, optimizer)
    (skipped,) = [outcome for outcome in optimizer.outcomes if not outcome.moved]
    assert skipped in {Outcome.NON_FINITE_LOSS, Outcome.NON_FINITE_GRADIENT}
    assert optimizer.outcomes[skipped] == 1 and sum(optimizer.outcomes.values()) == 6
    assert f"16.7 % {skipped.name}" in optimizer.summary() and "6 steps" in optimizer.summary()
    other = METHODS[name](make_problem().net.parameters())
    other.load_state_dict(optimizer.state_dict())
    assert other.outcomes == optimizer.outcomes
    other.load_state_dict(early)
    assert sum(other.outcomes.values()) == 5, "What was saved does not change with the next step."
    for group in early["param_groups"]:
        del group["outcomes"]  # as saved by a version without it
    other.load_state_dict(early)
    assert other.outcomes == {}


def test_a_wrapped_optimizer_counts_each_step_once() -> None:
    problem = make_problem()
    optimizer = curvestep.EGStepSize(curvestep.RescaledSGD(problem.net.parameters(), lr=0.3))
    problem.train(optimizer, range(4))
    assert sum(optimizer.outcomes.values()) == 4


def test_a_compiled_step_is_counted() -> None:
    theta = torch.zeros(1, requires_grad=True)
    optimizer = curvestep.RescaledSGD([theta], lr=0.5)
    step = optimizer.compile(lambda x: (0.5 * (theta - x) ** 2).mean(), backend="eager")
    step(torch.tensor([1.0, 2.0, 6.0]))
    assert optimizer.outcomes == {Outcome.TAKEN: 1}


def test_the_page_s_tensorboard_and_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    import torch.utils.tensorboard  # noqa: F401  the page takes it from torch

    monkeypatch.chdir(tmp_path)
    problem = make_problem()
    optimizer = curvestep.Auto(problem.net.parameters())
    names: dict[str, Any] = {"torch": torch, "csv": csv, "optimizer": optimizer}
    exec(block("SummaryWriter"), names)
    steps: list[Any] = []
    for batch in range(60):
        problem.train(optimizer, range(batch, batch + 1))
        steps.append(optimizer.last_step)
    names["file"].close()
    names["writer"].close()
    rows = list(csv.DictReader((tmp_path / "steps.csv").read_text().splitlines()))
    sizes = [step.step_size for step in steps]
    assert [float(row["step_size"]) for row in rows] == sizes
    measured = [step.curvature is not None for step in steps]
    assert [bool(row["curvature"]) for row in rows] == measured and not all(measured)
    events = accumulator.EventAccumulator(str(tmp_path / "runs" / "tensorboard"))
    events.Reload()
    logged = events.Scalars("curvestep/step_size")
    assert [event.step for event in logged] == [step.step for step in steps]
    assert [event.value for event in logged] == pytest.approx(sizes)


def test_the_page_s_line_for_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb", reason="wandb, with its many dependencies, is not part of the dev extra.")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = wandb.init(mode="offline", dir=tmp_path)
    (line,) = [line for line in block("wandb.log").splitlines() if "wandb" in line]
    problem = make_problem()
    optimizer = curvestep.RescaledSGD(problem.net.parameters())
    exec(line, {"wandb": wandb, "optimizer": optimizer})
    problem.train(optimizer, range(3))
    assert optimizer.last_step is not None
    assert run.summary["curvestep/step_size"] == optimizer.last_step.step_size
    run.finish()
    assert list(tmp_path.rglob("*.wandb"))
