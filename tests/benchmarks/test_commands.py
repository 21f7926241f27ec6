"""`python -m benchmarks` as a person types it; what is the package's own stays outside of it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.claims import plan
from benchmarks.claims.look import Look, look_store
from benchmarks.commands import COMMANDS, main
from benchmarks.comparisons.plan import COMPARISONS
from benchmarks.overhead import cases
from benchmarks.paper import plan as paper_plan
from benchmarks.paper.plan import Figure, Line, Panel
from benchmarks.regimes.plan import CASES, OvershootCase
from benchmarks.regimes.row import RegimeRow
from benchmarks.repository import DOCS, ROOT, STORES, rows
from curvestep.bench.networks.specs import DenseSpec
from curvestep.bench.record import run_store
from curvestep.bench.settings import Wish
from tests.benchmarks.commands import refuse, run


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERM", "dumb")


def test_the_list_names_every_command_and_every_page_is_written_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    said = capsys.readouterr().out
    assert all(f"  {name} " in said and command.writes in said for name, command in COMMANDS.items())
    written = {command.writes for command in COMMANDS.values()}
    generated = {
        f"docs/{page.name}"
        for page in DOCS.glob("*.md")
        if "enerated" in (text := page.read_text(encoding="utf-8")) and "python -m benchmarks" in text
    }
    assert generated <= written


@pytest.mark.parametrize("name", list(COMMANDS))
def test_help_comes_without_torch(name: str) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['benchmarks', {name!r}, '--help']\n"
        "try:\n    runpy.run_module('benchmarks', run_name='__main__')\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "assert not {'torch', 'matplotlib', 'datasets'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "--render" in done.stdout


def test_the_package_does_not_know_the_laboratory() -> None:
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.partition(".")[0] in ("benchmarks", "tests")], path


def test_an_unknown_command_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["overheads"]) == 2
    assert capsys.readouterr().err.startswith(
        "There is no command 'overheads'; did you mean overhead? The commands are"
    )


def test_overhead_leaves_rows_a_page_and_a_figure_and_resumes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = cases.CaseSpec("small net", DenseSpec((6, 5, 10), "tanh"), 8, (6,), ("quick",))
    monkeypatch.setattr(cases, "CASES", (small,))
    where = ("--out=kept", "--page=docs/cost.md")
    command = ("overhead", "--set=quick", "--variants=lqa", "--seconds=0.01", "--threads=1", *where)
    run(*command)
    said = capsys.readouterr()
    assert said.out.split() == ["docs/cost.md", "docs/figures/overhead.png"]
    assert said.err.startswith("small net  LQA: ") and "(stored)" not in said.err
    page = Path("docs/cost.md").read_text()
    assert "| LQA | two more losses | SGD |" in page
    run(*command)
    assert capsys.readouterr().err.endswith("(stored)\n")
    Path("docs/cost.md").unlink()
    run("overhead", "--render", *where)
    assert Path("docs/cost.md").read_text() == page and Path("docs/figures/overhead.svg").exists()


def test_claims_are_judged_from_the_store(capsys: pytest.CaptureFixture[str]) -> None:
    looks = [Look(e.task, seed, 2, 1.0, 0.0, 0.01, 1.0, 1.0, "TAKEN") for e in plan.LINE for seed in range(3)]
    look_store(Path("kept")).append(*looks)
    run("claims", "--render", "--out", "kept", "--page", "docs/claims.md")
    first, second, third, last = capsys.readouterr().out.splitlines()
    assert first == "LQA takes nearly the greatest decrease along the gradient at each step: held"
    assert second.endswith(": not measured yet") and third.endswith(": not measured yet")
    assert last == "docs/claims.md" and "**held.**" in Path(last).read_text()


def test_regimes_runs_what_is_missing_and_writes_the_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(CASES, "overshoot", (OvershootCase("root", 1),))
    where = ("--out", "kept", "--page", "docs/regimes.md")
    run("regimes", "--only", "overshoot", *where)
    assert "overshoot root 1: converged after 4 steps" in capsys.readouterr().err
    assert len(rows(Path("kept"), RegimeRow).read()) == 1
    run("regimes", "--only", "overshoot", *where)
    assert "0 of 1 runs to make" in capsys.readouterr().err
    run("regimes", "--render", *where)
    said = capsys.readouterr().out
    assert "changes nothing where there is none: held" in said and "docs/regimes.md" in said
    assert Path("docs/regimes.md").read_text(encoding="utf-8").startswith("# The regimes that the source leaves open")
    assert Path("docs/figures/regimes.svg").exists()


def test_paper_runs_what_is_missing_and_writes_page_and_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = Line("red-sgd", "red-sgd", Wish("digits-mlp", scale="small", epochs=2, subset=128))
    figure = Figure("fig5", "a title", "a claim.", (Panel("digits", (line,)),))
    monkeypatch.setattr(paper_plan, "figures", lambda *_: {"fig5": figure})
    where = ("--out", "kept", "--page", "docs/paper.md")
    run("paper", "fig5", "--time-limit", "300", *where)
    said = capsys.readouterr()
    assert "fig5: 3 of 3 runs to make" in said.err and "fig5 digits-mlp red-sgd, seed 2: training loss" in said.err
    assert said.out.split()[0] == "docs/paper.md" and "docs/figures/paper-fig5-cost.svg" in said.out
    page = Path("docs/paper.md").read_text(encoding="utf-8")
    run("paper", "fig5", *where)
    assert "fig5: 0 of 3 runs to make" in capsys.readouterr().err
    Path("docs/paper.md").unlink()
    run("paper", "fig5", "--render", *where)
    assert Path("docs/paper.md").read_text(encoding="utf-8") == page


@pytest.mark.parametrize("name", list(COMPARISONS))
def test_the_plan_of_a_comparison_is_what_its_stores_hold(name: str) -> None:
    """The command of a page makes the rows of its tables, all of them and no others."""
    for folder, runs in COMPARISONS[name].stores.items():
        planned = [config.key for each in runs for config in each.configs()]
        assert len(set(planned)) == len(planned), folder
        assert run_store(STORES / folder).keys() == set(planned), folder


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("overhead", "--render", "--out", "nowhere"), "There are no rows in nowhere; `python -m benchmarks overhead`"),
        (("overhead", "--networks", "alexnet"), "No network of the overhead has 'alexnet' in its name"),
        (("overhead", "--seconds", "0"), "--seconds is a number above 0, 0 was given"),
        (("overhead", "--within", "0"), "--within is a number of minutes above 0, 0 was given"),
        (("overhead", "--set", "cuda"), "--set cuda needs an accelerator, cpu was given; add --device cuda."),
        (("overhead", "--set", "huge"), "--set is one of quick, standard, full, growth, compiled, cuda;"),
        (("claims", "--only", "fame"), "There is no claim 'fame'; the claims are line, interpolation, recovery"),
        (("regimes", "--only", "sleep"), "There is no experiment 'sleep'; the experiments are overshoot"),
        (("regimes", "--threads", "0", "--out", "kept"), "--threads is a whole number"),
        (("auto", "--only", "mnist"), "There is no store 'mnist'; did you mean"),
        (("paper", "fig12", "--out", "kept"), "There is no figure 'fig12'; did you mean fig2"),
        (("paper", "--scale", "huge", "--out", "kept"), "--scale is one of small, paper; 'huge' was given."),
        (("paper", "--time-limit", "0", "--out", "kept"), "--time-limit is a number of seconds above 0, 0 was given."),
        (("paper", "--device", "cuda:99", "--out", "kept"), "There is no device 'cuda:99' here; the devices are cpu"),
        (("paper", "--jobs", "4", "--out", "kept"), "--jobs 4 needs to know where: add --parallel joblib"),
        (("paper", "fig4", "--features", "nowhere", "--out", "kept"), "The folder of features nowhere has no train_"),
    ],
)
def test_refusals_are_one_sentence(
    arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refuse(capsys, *arguments)
    assert line.startswith("curvestep: ") and sentence in line
    assert not Path("kept").exists()
