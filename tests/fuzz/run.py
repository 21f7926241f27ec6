"""The command: `python -m tests.fuzz --cases 10000 --seed 0 [--generator layouts] [--hours 2] [--log FILE]`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from tests.fuzz.campaign import GENERATORS, Campaign, resumed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run cases; 1 where one failed whose cause is not on the list."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="stop after so many cases, those of the log included")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hours", type=float, default=float("inf"), help="stop after so many hours")
    parser.add_argument("--generator", choices=list(GENERATORS), default="chains")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--log", type=Path, help="a line a thousand cases; a run with the same log goes on behind it")
    parser.add_argument("--summary", type=Path, help="where the summary goes as JSON")
    options = parser.parse_args(arguments)
    torch.set_default_dtype(torch.float64)
    before = resumed(options.log, options.generator, options.seed)
    summary = Campaign(before, options.processes, options.log).run(options.cases, 3600 * options.hours)
    if options.summary is not None:
        options.summary.write_text(json.dumps(summary.json(), indent=1) + "\n", encoding="utf-8")
    print(f"{len(summary.operations)} operations; refused, by sentence:")
    for sentence, count in summary.refused.most_common():
        print(f"{count:6} {sentence}")
    return int(any(find["known"] is None for find in summary.failures.values()))
