"""`curvestep doctor MODULE:FACTORY`: examine a model of the user's."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from curvestep._errors import CurvestepError
from curvestep.cli import options

if TYPE_CHECKING:
    from curvestep.diagnostics import Diagnosis

_NOT_COVERED = 1
_FORM = (
    "Give it as MODULE:FACTORY or FILE:FACTORY, for example mypackage.train:example or train.py:example, where "
    "example() returns (model, example_batch, loss_fn)"
)


def doctor(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:FACTORY",
            help="In a module or a file (train.py:example): a function without arguments that returns "
            "(model, example_batch, loss_fn); loss_fn(model, example_batch) is the loss.",
        ),
    ],
    measure: Annotated[bool, typer.Option(help="Measure the time and memory of a step.")] = True,
    threads: options.Threads = None,
    as_json: options.AsJson = False,
) -> None:
    """Say whether a model is covered, what a measured step costs, and what step size would be taken.

    The status is 0 if the curvature can be measured exactly, 1 if not, 2 if the model could not be examined.
    """
    _examine(target, measure, threads, as_json)


def _examine(target: str, measure: bool, threads: int | None, as_json: bool) -> None:
    """Carry out the command; this docstring, unlike the one above, is not shown to users."""
    factory = _factory(target)
    import torch

    from curvestep.diagnostics import doctor as examine

    if threads is not None:
        torch.set_num_threads(threads)
    model, batch, loss_fn = _made(target, factory)
    try:
        # On a terminal only: what is written elsewhere is the result alone.
        with Console(stderr=True).status("Examining") as status:
            found = examine(
                model, batch, loss_fn, measure=measure, progress=lambda what: status.update(f"Examining: {what}")
            )
    except CurvestepError:
        raise
    except Exception as error:
        raise CurvestepError(
            f"The model of {target} could not be run on its batch: {type(error).__name__}: {_first_line(error)}. Call "
            "loss_fn(model, example_batch) from Python to see where."
        ) from error
    if as_json:
        print(json.dumps(found.to_json()))
    else:
        show(found, Console())
    if not found.covered:
        raise typer.Exit(_NOT_COVERED)


def _factory(target: str) -> Any:
    """Import what the argument names."""
    module_name, colon, name = target.partition(":")
    if not (colon and module_name and name):
        raise CurvestepError(f"A model to examine was needed, but {target!r} names none. {_FORM}.")
    here = str(Path.cwd())
    if here not in sys.path:  # as `python -m` does
        sys.path.insert(0, here)
    if module_name.endswith(".py"):
        module_name = _module_of(Path(module_name))
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise CurvestepError(
            f"The module {module_name} was needed, but it cannot be imported: {_first_line(error)}. Run curvestep in "
            "the folder that holds it, or install it."
        ) from error
    except Exception as error:
        raise CurvestepError(
            f"The module {module_name} was needed, but importing it raised {type(error).__name__}: "
            f"{_first_line(error)}."
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise CurvestepError(f"The module {module_name} was imported, but it has no {name}. {_FORM}.")
        found = getattr(found, part)
    if not callable(found):
        raise CurvestepError(
            f"{target} must be a function, but it is an object of type {type(found).__name__}. {_FORM}."
        )
    return found


def _module_of(file: Path) -> str:
    """Put the folder of a file on the path, as `python FILE` does, and return the name to import it by."""
    if not file.is_file():
        raise CurvestepError(f"The file {file} was needed, but there is none of that name in {Path.cwd()}. {_FORM}.")
    sys.path.insert(0, str(file.resolve().parent))
    return file.stem


def _made(target: str, factory: Any) -> tuple[Any, Any, Any]:
    """Call the factory and check that it returned three things."""
    try:
        made = factory()
    except CurvestepError:
        raise
    except Exception as error:
        raise CurvestepError(
            f"{target}() was called without arguments and raised {type(error).__name__}: {_first_line(error)}. {_FORM}."
        ) from error
    if not (isinstance(made, (tuple, list)) and len(made) == 3):
        kind = f"{len(made)} things" if isinstance(made, (tuple, list)) else f"an object of type {type(made).__name__}"
        raise CurvestepError(f"{target}() returned {kind}. {_FORM}.")
    if not callable(made[2]):
        raise CurvestepError(
            f"The third thing that {target}() returned is loss_fn and must be a function of model and batch, but it is "
            f"an object of type {type(made[2]).__name__}."
        )
    return made[0], made[1], made[2]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def show(found: Diagnosis, console: Console) -> None:
    """Print a diagnosis."""
    from curvestep.diagnostics import diagnosis as page

    style = "bold green" if found.covered else "bold red"
    console.print(Text(page.verdict(found), style=style))
    if found.refusal is not None and not found.missing:
        console.print(Text(found.refusal))
    console.print()
    console.print(_operations(found))
    if found.missing:
        _part(console, "What to do", page.advice_sentences(found))
    _part(console, "Batch", [page.sample_sentences(found.samples)])
    _part(console, "Parameters", page.parameter_sentences(found.parameters))
    if found.products is not None:
        cost = [page.product_sentence(found.products)]
        cost += [] if found.measurement is None else page.measurement_sentences(found.measurement)
        _part(console, "Cost of a measured step", cost)
    if found.suggestions:
        _part(console, f"Step size right now, at loss {found.loss:.4g}", [])
        console.print(Padding(_suggestions(found), (0, 0, 0, 1)))
        for sentence in page.auto_sentences(found):
            console.print(Padding(Text(sentence), (0, 0, 0, 2)))
    _part(console, "Notes", list(found.notes))


def _part(console: Console, title: str, sentences: list[str]) -> None:
    """A heading with its sentences; nothing where there is nothing to say, unless more follows from the caller."""
    if not sentences and title == "Notes":
        return
    console.print(Text(f"\n{title}", style="bold"))
    for sentence in sentences:
        console.print(Padding(Text(sentence), (0, 0, 0, 2)))


def _operations(found: Diagnosis) -> Table:
    """The operations, each missing one with its path on the next line."""
    from curvestep.diagnostics import diagnosis as page
    from curvestep.diagnostics.findings import Coverage

    styles = {Coverage.MISSING: "red", Coverage.DECOMPOSED: "yellow", Coverage.EXACT: ""}
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column("count", justify="right", no_wrap=True)
    table.add_column("operation", overflow="fold")
    table.add_column("covered by", no_wrap=True)
    table.add_column("remark", overflow="fold")
    for op in found.operations:
        name = page.short(op.name) if op.path is None else f"{page.short(op.name)}\n{op.path}"
        table.add_row(
            str(op.count), Text(name), Text(op.coverage.value, style=styles[op.coverage]), Text(page.mark(op))
        )
    return table


def _suggestions(found: Diagnosis) -> Table:
    """One row an optimizer, one column a level."""
    from curvestep.diagnostics.diagnosis import unusual

    levels = list(dict.fromkeys(each.ell for each in found.suggestions))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column("optimizer")
    for ell in levels:
        table.add_column(f"lr = ℓ = {ell:g}", justify="right", no_wrap=True)
    remarks = {each.optimizer: "\n".join(unusual(found, each.optimizer)) for each in found.suggestions}
    if any(remarks.values()):
        table.add_column("remark", overflow="fold")
    for name, remark in remarks.items():
        steps = {each.ell: each.step_size for each in found.suggestions if each.optimizer == name}
        cells = [name, *(f"{steps[ell]:.4g}" for ell in levels)]
        table.add_row(*cells, *([remark] if any(remarks.values()) else []))
    return table
