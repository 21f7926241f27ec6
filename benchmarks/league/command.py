"""`python -m benchmarks league`: methods without a rate to tune beside AdamW's best, on problems of many kinds."""

from __future__ import annotations

import time
from typing import Annotated, Literal

import typer

from benchmarks import options
from benchmarks.repository import DOCS, FIGURES, STORES, shown, write
from curvestep.bench.errors import StoreError
from curvestep.bench.names import several
from curvestep.bench.store import Store

# Stands for its five rates in --methods.
_FIVE = "adamw"
# Stands in --problems for those with the loss, the batch or a layer changed.
_CHANGED = "changed"


def league(
    render: options.Render = False,
    half: Annotated[
        Literal["design", "test", "fresh", "later", "fifth"], typer.Option(help="Which half of the problems.")
    ] = "design",
    problems: Annotated[
        str, typer.Option(help="Only these problems, separated by commas, in place of a half; changed for all changed.")
    ] = "",
    methods: Annotated[
        str, typer.Option(help="Only these methods, separated by commas; adamw stands for its five rates.")
    ] = "",
    seeds: Annotated[int, typer.Option(help="So many seeds, from 0.")] = 3,
    scale: Annotated[float, typer.Option(help="Factor of every run's number of steps.")] = 1.0,
    time_limit: Annotated[float, typer.Option(help="Begin no run after so many seconds.")] = float("inf"),
    jobs: options.Jobs = 1,
    out: options.Out = STORES / "league",
    page: options.Page = DOCS / "league.md",
) -> None:
    """Train what the store lacks, and write the league's tables and figure from it."""
    from benchmarks.league.execute import ALL, execute
    from benchmarks.league.figure import write_figures
    from benchmarks.league.methods import ADAMW, METHODS
    from benchmarks.league.page import document
    from benchmarks.league.problems import CHANGED, PROBLEMS
    from benchmarks.league.split import half as members
    from benchmarks.league.trial import Trial

    store = Store(out / "trials.jsonl", Trial)
    if not render:
        asked = ",".join(",".join(ADAMW) if name.strip() == _FIVE else name for name in methods.split(","))
        problems = ",".join(CHANGED) if problems == _CHANGED else problems
        which = several("problem", problems, (*PROBLEMS, *CHANGED)) if problems else members(half)
        whose = several("method", asked, tuple(ALL)) if methods else tuple(METHODS)
        store.open()
        done = store.keys()
        wanted = [(p, m, s, scale) for s in range(seeds) for m in whose for p in which]
        wanted = [key for key in wanted if key not in done]
        end = time.monotonic() + time_limit
        left = len(wanted)
        for trial in execute(wanted, jobs, lambda: time.monotonic() < end):
            store.append(trial)
            left -= 1
            line = f"{trial.problem} {trial.method} seed {trial.seed}: {trial.final:.5g} in {trial.curve[-1][1]:.1f} s"
            print(f"[{len(wanted) - left}/{len(wanted)}] {line}", flush=True)
        if left:
            print(f"The time limit left {left} runs undone; the same command goes on with them.")
    trials = {trial.key: trial for trial in store.read()}
    if not trials:
        raise StoreError(f"The store {shown(out)} has no trial to show; run without --render first.")
    for path in write_figures(trials, FIGURES if page == DOCS / "league.md" else page.parent):
        print(shown(path))
    write(page, document(trials))
