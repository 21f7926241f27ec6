"""Run and score the league: ``python -m benchmarks.league``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.league.execute import ALL, execute
from benchmarks.league.methods import ADAMW, METHODS
from benchmarks.league.problems import PROBLEMS
from benchmarks.league.render import table
from benchmarks.league.score import score
from benchmarks.league.split import half
from benchmarks.league.store import Store

_STORE = Path(__file__).with_name("runs.jsonl")


def _names(given: str, known: dict[str, object]) -> list[str]:
    names = [name for part in given.split(",") for name in (ADAMW if part == "adamw" else (part,))]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"Names from {', '.join(known)} were needed, but {', '.join(unknown)} was given.")
    return names


def main() -> None:
    """Parse the command line, run what the store lacks, print the tables if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.league", description=__doc__)
    parser.add_argument("--methods", default=",".join(METHODS), help="names with commas; adamw stands for its five")
    parser.add_argument(
        "--half", choices=("design", "test"), default="design", help="which half; design is the default"
    )
    parser.add_argument("--problems", default="", help="names with commas, in place of a half")
    parser.add_argument("--seeds", default="0", help="seeds with commas")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the number of steps")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--store", type=Path, default=_STORE, help="file of trials")
    parser.add_argument("--render", action="store_true", help="train nothing, print the tables of what is in the store")
    options = parser.parse_args()
    problems = _names(options.problems, dict(PROBLEMS)) if options.problems else list(half(options.half))
    methods = _names(options.methods, dict(ALL))
    seeds = [int(seed) for seed in options.seeds.split(",")]
    store = Store(options.store)
    if not options.render:
        done = store.read()
        wanted = [(p, m, s, options.scale) for s in seeds for m in methods for p in problems]
        wanted = [key for key in wanted if key not in done]
        for number, trial in enumerate(execute(wanted, options.workers), 1):
            store.append(trial)
            line = f"[{number}/{len(wanted)}] {trial.problem} {trial.method} seed {trial.seed}"
            print(f"{line}: {trial.final:.5g} in {trial.curve[-1][1]:.1f} s", flush=True)
    trials = store.read()
    needed = [(p, m, s, options.scale) for p in problems for m in (*methods, *ADAMW) for s in seeds]
    if all(key in trials for key in needed):
        print(table(score(trials, problems, methods, seeds, options.scale), problems, methods))
    elif options.render:
        raise SystemExit("Every trial of the methods and of AdamW's five rates was needed; run without --render first.")


if __name__ == "__main__":
    main()
