"""The table of commands, and their one form: `python -m benchmarks NAME [--render] [options]`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import final

from curvestep.bench.names import unknown


@final
@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        name: what it is called by.
        function: `module:function`, whose parameters are its options; the module imports no torch.
        writes: its pages.
        what: one line.
    """

    name: str
    function: str
    writes: str
    what: str

    def load(self) -> Callable[..., None]:
        """The function."""
        module, _, function = self.function.partition(":")
        return getattr(import_module(module), function)


COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        Command(
            "overhead",
            "benchmarks.overhead.command:overhead",
            "docs/overhead.md",
            "time, memory and products of a measured step over those of a plain one; half an hour on two cores",
        ),
        Command(
            "memory",
            "benchmarks.memory.command:memory",
            "docs/memory.md",
            "peaks and times of a recorded step under each record(memory=…); a minute",
        ),
        Command(
            "precision",
            "benchmarks.precision.command:precision",
            "docs/precision.md",
            "rounding errors of the curvature in every precision; some minutes",
        ),
        Command(
            "coverage",
            "benchmarks.coverage.command:coverage",
            "docs/coverage.md",
            "the engine on the architectures of tests/models; some minutes",
        ),
        Command(
            "operations",
            "benchmarks.operations.command:operations",
            "docs/operations.md",
            "every rule checked against its truths; a minute",
        ),
        Command(
            "fuzz",
            "benchmarks.fuzz.command:fuzz",
            "docs/fuzzing.md",
            "random programs under the engine, beside truths that it does not make; hours",
        ),
        Command(
            "claims",
            "benchmarks.claims.command:claims",
            "docs/claims.md",
            "what the sources claim of their methods, run again; ten minutes",
        ),
        Command(
            "regimes",
            "benchmarks.regimes.command:regimes",
            "docs/regimes.md",
            "overshoot, ReLU, small batches, momentum; a quarter of an hour",
        ),
        Command(
            "sensitivity",
            "benchmarks.sensitivity.command:sensitivity",
            "docs/sensitivity.md",
            "the one number of every method over nine decades; a quarter of an hour",
        ),
        Command(
            "paper",
            "benchmarks.paper.command:paper",
            "docs/paper.md",
            "the figures of the source of curvature rescaling, run and drawn at a small scale; an hour",
        ),
        Command(
            "growth",
            "benchmarks.growth.command:growth",
            "docs/growth.md",
            "the cost of a measured step on growing models, and a model of it; ten minutes",
        ),
        Command(
            "report",
            "benchmarks.evidence.command:report",
            "docs/evidence.md",
            "verdicts, figures and tables of all stores, also as one file in HTML; measures nothing",
        ),
        Command(
            "first",
            "benchmarks.comparisons.command:first",
            "README.md",
            "the comparisons of the README: a grid for SGD on MNIST, and a small GPT; hours",
        ),
        Command(
            "auto",
            "benchmarks.comparisons.command:auto",
            "docs/auto.md",
            "Auto beside AdamW's rates on nine problems; hours",
        ),
        Command(
            "league",
            "benchmarks.league.command:league",
            "docs/league.md",
            "methods without a rate to tune beside AdamW's best, on thirty problems of thirteen families; an hour",
        ),
        Command(
            "horizons",
            "benchmarks.comparisons.command:horizons",
            "docs/auto.md",
            "Auto and others on runs of 10 to 80 epochs; minutes",
        ),
        Command(
            "all-methods",
            "benchmarks.comparisons.command:all_methods",
            "docs/all-methods.md",
            "every method on two problems; an hour",
        ),
        Command(
            "measured",
            "benchmarks.comparisons.command:measured",
            "docs/measuring.md",
            "how often and on how many samples measuring is enough; hours",
        ),
        Command(
            "tables",
            "benchmarks.comparisons.command:tables",
            "README.md and the pages of the comparisons",
            "the tables and figures of all comparisons, from their stores; measures nothing",
        ),
    )
}


def listing() -> str:
    """All commands with what they are for and what they write."""
    width = max(map(len, COMMANDS))
    lines = ["Usage: python -m benchmarks NAME [--render] [options]", ""]
    lines += [f"  {each.name:<{width}}  {each.what}\n  {'':<{width}}  → {each.writes}" for each in COMMANDS.values()]
    lines += ["", "python -m benchmarks NAME --help lists the options. What is in a store is not measured again."]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Run a command.

    Args:
        arguments: the name and its options.

    Returns:
        The exit status of a listing: 0, or 2 where there is no such command.

    Raises:
        SystemExit: at the end of every command, with its status.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(listing())
        return 0
    command = COMMANDS.get(arguments[0])
    if command is None:
        print(unknown("command", arguments[0], COMMANDS), file=sys.stderr)
        return 2
    import typer

    from curvestep.cli.refusing import refusing

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(refusing(command.load()))
    app(list(arguments[1:]), prog_name=f"python -m benchmarks {command.name}")
    return 0
