"""The sweep: what is there is not repeated, a kill costs the epoch in flight, and any executor makes the same runs."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.paper.execute import Setting, execute_figures
from benchmarks.paper.parallel import Joblib, OneByOne, Ray, executor
from benchmarks.paper.plan import Figure, Line, Panel
from benchmarks.paper.store import chosen, line_runs, read_runs, tuning_runs
from curvestep.bench.errors import SettingError
from curvestep.bench.record import RunRecord
from curvestep.bench.settings import Wish

ROOT = Path(__file__).resolve().parents[2]
WISH = Wish("digits-mlp", scale="small", epochs=5, subset=192, batch_size=64)
SGD = Line("sgd", "sgd", WISH, (0.1, 0.5, 1e6), (0.9, 1.0))
RED = Line("red-sgd", "red-sgd", WISH)
FIGURE = Figure("fig2", "", "", (Panel("digits", (RED, SGD)),))


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURVESTEP_CACHE", str(tmp_path / "cache"))


def timeless(runs: dict[str, RunRecord]) -> object:
    """The runs without what no seed decides, in one order."""
    return {
        key: ([dataclasses.replace(epoch, seconds=0.0) for epoch in run.epochs], run.status, run.samples.loss)
        for key, run in sorted(runs.items())
    }


def test_the_grid_is_run_and_its_best_pair_to_the_end(tmp_path: Path) -> None:
    said: list[str] = []
    assert execute_figures([FIGURE], Setting(tmp_path / "kept"), OneByOne(), said.append)
    runs = read_runs(tmp_path / "kept")
    assert len(runs) == 6 + 2 * 3
    best = chosen(SGD, runs)
    assert best is not None and best.config.lr in (0.1, 0.5) and best.config.epochs == 1
    assert [run.config.seed for run in line_runs(SGD, runs)] == [0, 1, 2]
    misses = [run for run in tuning_runs(SGD, runs) if run.status != "finished"]
    assert [run.config.lr for run in misses] == [1e6, 1e6] and all(run.samples.step[-1] <= 3 for run in misses)
    assert sum(": a miss, at step " in line for line in said) == 2
    again: list[str] = []
    assert execute_figures([FIGURE], Setting(tmp_path / "kept"), OneByOne(), again.append)
    assert again == ["fig2 tuning: 0 of 6 runs to make", "fig2: 0 of 6 runs to make"]
    assert not list((tmp_path / "kept" / "unfinished").iterdir())


def test_joblib_makes_the_same_runs(tmp_path: Path) -> None:
    for name, workers in (("one", OneByOne()), ("two", Joblib(2))):
        assert execute_figures([FIGURE], Setting(tmp_path / name), workers, lambda _: None)
    assert timeless(read_runs(tmp_path / "one")) == timeless(read_runs(tmp_path / "two"))


def test_the_time_limit_stops_and_the_next_call_goes_on(tmp_path: Path) -> None:
    long = Figure(
        "fig2", "", "", (Panel("digits", (dataclasses.replace(RED, wish=dataclasses.replace(WISH, epochs=40)),)),)
    )
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert not execute_figures([long], Setting(parts, deadline=time.time() - 1.0), OneByOne(), lambda _: None)
    assert read_runs(parts) == {}
    calls = 0
    limit = 0.4
    while not execute_figures([long], Setting(parts, deadline=time.time() + limit), OneByOne(), lambda _: None):
        calls += 1
        limit *= 1.3  # a machine that is busy gets further each time
        assert calls < 40
    assert calls > 0, "the limit was long enough for all runs: it tests nothing"
    assert execute_figures([long], Setting(whole), OneByOne(), lambda _: None)
    assert timeless(read_runs(parts)) == timeless(read_runs(whole))


KILLED = """
import sys
from pathlib import Path
from benchmarks.paper.execute import Setting, execute_figures
from benchmarks.paper.parallel import OneByOne
from tests.benchmarks.test_paper_sweep import FIGURE
print("begun", flush=True)
execute_figures([FIGURE], Setting(Path(sys.argv[1])), OneByOne(), lambda line: print(line, flush=True))
"""


def begun(folder: Path) -> subprocess.Popen[str]:
    """A process that makes the runs of the figure."""
    return subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
    )


def test_after_a_kill_nothing_that_was_over_is_repeated(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    child = begun(folder)
    assert child.stdout is not None
    done = 0
    for line in child.stdout:
        done += " seed " in line
        if done == 8:
            break
    child.send_signal(signal.SIGKILL)
    child.wait(60)
    child.stdout.close()
    kept = read_runs(folder)
    assert 8 <= len(kept) < 12, "every run of which it told is there"
    said: list[str] = []
    assert execute_figures([FIGURE], Setting(folder), OneByOne(), said.append)
    assert sum(" seed " in line for line in said) == 12 - len(kept)
    assert execute_figures([FIGURE], Setting(tmp_path / "whole"), OneByOne(), lambda _: None)
    assert timeless(read_runs(folder)) == timeless(read_runs(tmp_path / "whole"))


def test_two_sweeps_of_one_store_share_the_work(tmp_path: Path) -> None:
    """Each sees what the other has made before it begins a run; both end, and nothing is lost."""
    folder = tmp_path / "kept"
    child = begun(folder)
    assert child.stdout is not None and child.stdout.readline() == "begun\n"
    assert execute_figures([FIGURE], Setting(folder), OneByOne(), lambda _: None)
    child.communicate(timeout=240)
    assert child.returncode == 0
    assert len(read_runs(folder)) == 12


def test_ray_makes_the_same_runs_when_a_node_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is an extra of its own: pip install ray")
    from ray.cluster_utils import Cluster  # pyright: ignore[reportMissingImports]

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=2)
    said: list[str] = []

    def told(line: str) -> None:
        said.append(line)
        if sum(" seed " in each for each in said) == 2:
            cluster.remove_node(second, allow_graceful=False)

    try:
        assert execute_figures([FIGURE], Setting(tmp_path / "ray"), Ray(3, cluster.address), told)
    finally:
        cluster.shutdown()
    assert execute_figures([FIGURE], Setting(tmp_path / "one"), OneByOne(), lambda _: None)
    assert timeless(read_runs(tmp_path / "ray")) == timeless(read_runs(tmp_path / "one"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("threads", 1, None), "--parallel is one of none, joblib, ray; 'threads' was given"),
        (("joblib", 0, None), "--jobs is a whole number ≥ 1, 0 was given"),
        (("none", 4, None), "--jobs 4 needs to know where: add --parallel joblib, or --parallel ray"),
        (("joblib", 2, "host:1"), "--address is that of a Ray cluster; add --parallel ray"),
    ],
)
def test_options_that_do_not_fit(options: tuple[str, int, str | None], sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        executor(*options)


def test_without_ray_it_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingError, match="--parallel ray needs Ray, which is not installed: pip install ray"):
        list(Ray(1, None).results(lambda _: None, []))
