"""`curvestep watch` and `curvestep plot`: a run while it lasts, after it, and after it was stopped."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from curvestep.bench.live import LiveFile, LiveStep, live_path, read_live, run_stem
from curvestep.bench.record import run_store
from curvestep.bench.store import Store
from curvestep.cli import live
from tests.bench.synthetic import record
from tests.cli.test_cli import refuse, succeed

STEM = Path("runs/digits-mlp-auto-seed0")


def in_progress(stem: Path, upto: int = 8) -> Path:
    """The file of a run of which so many steps are done, the last line half written."""
    rows = [
        LiveStep(
            step, 20, 0.5 * step, 2.0 / step, 0.1 * step, 3.0 if step % 2 else None, {"TAKEN": step - 1, "KEPT": 1}
        )
        for step in range(1, upto + 1)
    ]
    path = live_path(stem)
    path.parent.mkdir(exist_ok=True)

    path.write_text("".join(json.dumps(row.to_json()) + "\n" for row in rows) + '{"step": 9, "st')
    return path


def test_a_run_writes_its_steps_and_takes_the_file_away(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[LiveStep, ...]] = []
    remove = LiveFile.remove

    def looked_at(self: LiveFile) -> None:
        seen.append(read_live(self.path))
        remove(self)

    monkeypatch.setattr(LiveFile, "remove", looked_at)
    succeed("train", "digits-mlp", "--method", "auto", "--scale", "small", "--steps", "12", "--threads", "1", "--quiet")
    ((first, *_, last),) = seen
    (run,) = run_store(Path("runs")).read()
    assert first.step == 1 and last.step == last.steps == 12
    assert last.outcomes == run.outcomes
    assert last.loss_ema == pytest.approx(run.samples.loss_ema[-1], rel=1e-5)
    assert not live_path(STEM).exists() and run_stem(Path("runs/runs.jsonl"), run.config) == STEM


def test_steps_in_quick_succession_are_thinned(tmp_path: Path) -> None:
    from curvestep.bench.measure import StepMeasurement

    file = LiveFile(tmp_path / "run.live.jsonl")
    for _ in range(2):  # a second run of the name begins anew
        for step in range(1, 101):
            file.write(StepMeasurement(step, 0.0, 0.0, 1.0, 1.0, 0.1, 0.1, None, None, "TAKEN"), 100)
    assert [row.step for row in read_live(file.path)] == [1, 100]


def test_watch_shows_the_run_that_was_written_to_last() -> None:
    os.utime(in_progress(STEM), (1.0, 1.0))
    in_progress(STEM.with_name("digits-mlp-sgd-lr0.1-seed0"), 5)
    output = succeed("watch", "--once")
    assert "digits-mlp-sgd-lr0.1-seed0" in output and "5 of 20" in output
    output = " ".join(succeed("watch", str(STEM), "--once").split())
    assert "8 of 20" in output and "nothing new for" in output
    assert "loss 0.25 █" in output and "step size 0.8 ▁" in output and "curvature 3 ▁▁▁▁ " in output
    assert output.endswith("87.5 % TAKEN, 12.5 % KEPT")


def test_watch_goes_on_until_the_run_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    path = in_progress(STEM, 3)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        in_progress(STEM, 6) if len(pauses) < 3 else path.unlink()

    monkeypatch.setattr(live.time, "sleep", sleep)
    output = succeed("watch", str(STEM))
    assert len(pauses) == 3 and "6 of 20" in output
    assert output.endswith("digits-mlp-auto-seed0 is finished: curvestep plot runs/digits-mlp-auto-seed0\n")


def test_ctrl_c_ends_the_watching(monkeypatch: pytest.MonkeyPatch) -> None:
    in_progress(STEM)

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    assert "finished" not in succeed("watch")


def test_watch_without_a_run_is_refused() -> None:
    message = refuse("watch")
    assert message.startswith("curvestep: A run in progress was needed, but there is none at runs: ")


def test_plot_draws_a_stored_run() -> None:
    Store(Path("runs/runs.jsonl"), type(record())).append(record("red-sgd", None))
    output = succeed("plot")
    assert output == ("Figure: runs/digits-mlp-red-sgd-seed0-steps.png (and digits-mlp-red-sgd-seed0-steps.svg)\n")
    first = Path("runs/digits-mlp-red-sgd-seed0-steps.svg").read_bytes()
    succeed("plot", "runs/digits-mlp-red-sgd-seed0")
    assert Path("runs/digits-mlp-red-sgd-seed0-steps.svg").read_bytes() == first, "Equal runs give equal files."


def test_plot_draws_what_a_stopped_run_left() -> None:
    in_progress(STEM)
    assert succeed("plot", str(STEM)).startswith(f"Figure: {STEM}-steps.png")


def test_plot_names_the_runs_that_there_are() -> None:
    Store(Path("runs/runs.jsonl"), type(record())).append(record(), record(seed=1))
    message = refuse("plot")
    assert (
        "One run was needed" in message
        and "runs/digits-mlp-sgd-lr0.1-seed0, runs/digits-mlp-sgd-lr0.1-seed1" in message
    )


@pytest.mark.parametrize(("values", "drawn"), [([1.0], "▁"), ([2.0, 2.0], "▁▁"), ([-1.0, 0.0, 1.0], "▁▅█")], ids=str)
def test_a_course(values: list[float], drawn: str) -> None:
    assert live.course(values) == drawn
