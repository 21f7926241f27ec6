"""The commands as a person types them: what they print, what they leave behind, how they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from curvestep.bench.record import RunRecord, run_store
from curvestep.cli.app import app
from tests.bench.synthetic import record

SHORT = ["--scale", "small", "--steps", "12", "--threads", "1"]


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def succeed(*arguments: str) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refuse(*arguments: str) -> str:
    """The one sentence of a refusal."""
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


def test_train_leaves_a_run_and_figures() -> None:
    output = succeed("train", "digits-mlp", "--method", "red-sgd", *SHORT)
    assert "digits-mlp (small scale, 12 steps, batch 64, 640 examples)" in output
    assert "Runs:   runs/runs.jsonl" in output
    assert "Figure: runs/digits-mlp-red-sgd-seed0.png (and digits-mlp-red-sgd-seed0.svg)" in output
    assert {path.suffix for path in Path("runs").iterdir()} >= {".jsonl", ".png", ".svg"}
    (run,) = run_store(Path("runs")).read()
    assert run.config.method == "red-sgd" and run.config.steps == 12 and run.environment["threads"] == 1


def test_train_as_json_prints_the_record_and_nothing_else() -> None:
    output = succeed("train", "digits-mlp", "--method", "sgd", "--lr", "0.1", *SHORT, "--json")
    (run,) = run_store(Path("runs")).read()
    assert RunRecord.from_json(json.loads(output)) == run


def test_train_with_every_option() -> None:
    succeed(
        *("train", "digits-mlp", "--method", "adamw", "--lr", "0.01", "--schedule", "cosine", "--warmup", "2"),
        *("--epochs", "1", "--batch-size", "32", "--subset", "96", "--scale", "small", "--seed", "4"),
        *("--weight-decay", "1e-4", "--device", "cpu", "--threads", "1", "--out", "elsewhere"),
    )
    (run,) = run_store(Path("elsewhere")).read()
    config = run.config
    assert (config.lr, config.schedule, config.warmup, config.epochs) == (0.01, "cosine", 2, 1)
    assert (config.batch_size, config.subset, config.seed, config.weight_decay) == (32, 96, 4, 1e-4)
    assert run.last is not None and run.last.step == 3


def test_compare_trains_each_once_and_resumes() -> None:
    command = ("compare", "digits-mlp", "--methods", "red-sgd,sgd", "--lrs", "0.1,1", "--seeds", "2", *SHORT)
    output = succeed(*command)
    for label in ("red-sgd", "sgd, lr 0.1", "sgd, lr 1"):
        assert label in output
    assert "Figure: runs/digits-mlp.png" in output
    assert "Against seconds: runs/digits-mlp-seconds.png" in output
    before = Path("runs/runs.jsonl").read_bytes()
    assert before.count(b"\n") == 6
    again = invoke(*command)
    assert again.exit_code == 0 and again.stdout == output
    assert again.stderr.count("already in the store") == 6
    assert Path("runs/runs.jsonl").read_bytes() == before


def test_compare_as_json() -> None:
    output = succeed("compare", "digits-mlp", "--methods", "sgd", "--lrs", "0.1", "--seeds", "1", *SHORT, "--json")
    (row,) = json.loads(output)
    assert row["label"] == "sgd, lr 0.1" and row["training_loss"]["mean"] > 0.0


def test_compare_shows_its_own_runs_only() -> None:
    run_store(Path("runs")).append(record("adamw", 0.25))
    output = succeed("compare", "digits-mlp", "--methods", "sgd", "--lrs", "0.1", "--seeds", "1", *SHORT)
    assert "adamw" not in output


def test_report_of_a_store() -> None:
    store = run_store(Path("kept"))
    for run in (record(), record("red-sgd", None), record(task="mnist-lenet")):
        store.append(run)
    output = succeed("report", "kept")
    assert "digits-mlp (paper scale" in output and "mnist-lenet (paper scale" in output
    assert "Figure: kept/report.png" in output
    assert succeed("report", "kept/runs.jsonl", "--table").count("paper scale") == 2
    assert succeed("report", "kept", "--markdown").startswith("### digits-mlp")
    assert [row["task"] for row in json.loads(succeed("report", "kept", "--json"))].count("digits-mlp") == 2
    assert "mnist-lenet.svg" in succeed("report", "kept", "--figure", "--task", "mnist-lenet")
    assert Path("kept/mnist-lenet.svg").exists()


def test_torn_store_is_reported_in_one_line() -> None:
    store = run_store(Path("kept"))
    store.append(record())
    with store.path.open("ab") as file:
        file.write(b'{"schema":1,"con')
    result = invoke("report", "kept", "--markdown")
    assert result.exit_code == 0
    assert result.stdout.startswith("### digits-mlp")
    assert result.stderr == (
        "curvestep: Line 2 of kept/runs.jsonl was skipped: it was not written to its end, as after a kill.\n"
    )


def test_divergence_is_shown() -> None:
    output = succeed("train", "digits-mlp", "--method", "sgd", "--lr", "1e4", "--weight-decay", "1", *SHORT)
    assert "diverged" in output


def test_lists() -> None:
    from curvestep.bench.methods import METHODS
    from curvestep.bench.tasks import TASKS

    tasks, methods = succeed("tasks"), succeed("methods")
    assert all(name in tasks for name in TASKS)
    rows = {line.split("│")[1].strip(): line for line in methods.splitlines() if line.count("│") > 3}
    assert set(METHODS) <= set(rows)
    assert "needed" in rows["adamw"] and "none" in rows["red-sgd"] and "1, or --lr" in rows["alig"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("train", "mnist", "--method", "sgd"), "There is no task 'mnist'; did you mean mnist-vit or mnist-lenet"),
        (
            ("train", "digits-mlp", "--method", "sgdd"),
            "There is no method 'sgdd'; did you mean sgd or egdd? The methods are auto",
        ),
        (
            ("train", "digits-mlp", "--method", "red-sgd", "--device", "tpu"),
            "There is no device 'tpu' here; the devices are cpu",
        ),
        (("train", "digits-mlp", "--method", "sgd"), "The method sgd needs a learning rate, give one with --lr"),
        (("train", "digits-mlp", "--method", "sgd", "--lr", "-1"), "positive finite number, --lr -1 was given"),
        (("train", "digits-mlp", "--method", "red-sgd", "--subset", "10"), "A batch of 128 does not fit into 10"),
        (
            ("train", "mnist-lenet", "--method", "red-sgd", "--data-dir", "nowhere"),
            "The data folder nowhere given by --data-dir or CURVESTEP_DATA does not exist",
        ),
        (("compare", "digits-mlp", "--methods", "sgd", "--lrs", "a,b"), "--lrs takes numbers separated by commas"),
        (("compare", "digits-mlp", "--methods", "sgd"), "sgd need learning rates; give some with --lrs"),
        (("report", "nowhere"), "There is no run store nowhere/runs.jsonl"),
    ],
)
def test_refusals_are_one_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    line = refuse(*arguments)
    assert line.startswith("curvestep: ") and sentence in line
    assert not [path for path in Path("runs").glob("*") if path.stat().st_size], "nothing was written"


def test_store_without_runs_of_the_task() -> None:
    run_store(Path("kept")).append(record())
    assert "holds no run of the task mnist-lenet" in refuse("report", "kept", "--task", "mnist-lenet")


def test_interrupt_says_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from curvestep.bench import execute

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(execute, "run", interrupted)
    result = invoke("train", "digits-mlp", "--method", "red-sgd", *SHORT)
    assert result.exit_code == 130
    assert result.stderr == ("curvestep: stopped; finished runs are in the store, the one in progress is not.\n")


def test_a_stopped_training_keeps_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from curvestep.cli.watch import Watch

    def stopped(self: Watch, config: object, progress: Any) -> None:
        if progress.measurement.step == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(Watch, "stepped", stopped)
    result = invoke("train", "digits-mlp", "--method", "auto", *SHORT)
    assert result.exit_code == 130 and "the weights so far are in runs/digits-mlp-auto-seed0.pt" in result.stderr
    assert all(tensor.isfinite().all() for tensor in torch.load("runs/digits-mlp-auto-seed0.pt").values())
    assert not run_store(Path("runs")).keys()


def test_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    from curvestep.cli.main import main

    monkeypatch.delitem(sys.modules, "curvestep.cli.app")
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err == (
        'curvestep: the command line needs typer; install it with: pip install "curvestep[bench]".\n'
    )


def test_train_saves_the_weights_that_are_measured() -> None:
    """Those of the average, with which the stored test loss is computed."""
    import torch

    from curvestep.bench.measure import LOSSES, evaluate
    from curvestep.bench.task import LoadRequest
    from curvestep.bench.tasks import get_task

    output = succeed("train", "digits-mlp", "--method", "auto", *SHORT, "--weight-decay", "0")
    assert "Weights: runs/digits-mlp-auto-seed0.pt" in output
    (record,) = run_store(Path("runs")).read()
    task = get_task("digits-mlp")
    request = LoadRequest(64, record.config.subset, 0, torch.device("cpu"), None, augmented=False, window=None)
    network = task.scales["small"].network.build()
    network.load_state_dict(torch.load("runs/digits-mlp-auto-seed0.pt", weights_only=True))
    batches = task.load(request).evaluation("test")
    found = evaluate(network, batches, LOSSES[task.loss], has_accuracy=True, l2=0.0)
    assert record.last is not None and record.last.test_loss != record.last.last_test_loss
    assert found.loss == pytest.approx(record.last.test_loss, rel=1e-6)  # the store keeps seven digits


def test_afresh_runs_again_and_quiet_says_nothing() -> None:
    command = ("train", "digits-mlp", "--method", "sgd", "--lr", "0.1", *SHORT, "--quiet")
    assert invoke(*command).stderr == "" and invoke(*command).stderr == ""
    assert Path("runs/runs.jsonl").read_bytes().count(b"\n") == 1
    assert invoke(*command, "--afresh").stderr == ""
    assert Path("runs/runs.jsonl").read_bytes().count(b"\n") == 2


def test_a_duration_is_estimated() -> None:
    result = invoke("compare", "digits-mlp", "--methods", "sgd", "--lrs", "0.1", "--seeds", "2", *SHORT)
    assert "About 1 s for a run of 12 steps, 1 s for all." in result.stderr


def test_a_store_that_cannot_be_written_is_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    from curvestep.bench import execute

    def trained(*_: object) -> None:
        raise AssertionError("nothing is trained")

    monkeypatch.setattr(execute, "run", trained)
    Path("file").write_text("not a folder")
    assert "could not be written" in refuse("train", "digits-mlp", "--method", "auto", *SHORT, "--out", "file/here")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("train", "digits-mlp", "--method", "auto", "--schedule", "cosine"), "--schedule cosine would change nothing"),
        (("compare", "digits-mlp", "--methods", "auto,red-sgd", "--decay", "0.9"), "--decay 0.9 would change nothing"),
        (("compare", "digits-mlp", "--methods", "auto,"), "There is no method ''; the methods are auto"),
        (("train", "digits-mlp", "--method", ""), "There is no method ''; the methods are auto"),
    ],
)
def test_what_would_be_ignored_is_refused(arguments: tuple[str, ...], sentence: str) -> None:
    assert sentence in refuse(*arguments)


def test_version() -> None:
    from curvestep import __version__

    assert succeed("--version") == f"curvestep {__version__}\n"
