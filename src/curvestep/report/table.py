"""A panel as a table: for the terminal, for a document, for a program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from curvestep.report.series import Panel, Series, Spread

if TYPE_CHECKING:
    from rich.console import Group

DIVERGED = "diverged"
_SMOOTHED = "batch loss, EMA"


def rich_table(panel: Panel) -> Group:
    """Return title, table and caption for the terminal; the best series of each method is bold."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    # Eighty columns hold the range of the training loss, on a second line, and the means of the rest.
    names = _header(panel)
    hidden = names.index(_SMOOTHED)
    for index, name in enumerate(names):
        if index == 0:
            table.add_column(name, min_width=min(22, max(len(row.label) for row in panel.series)))
        elif index != hidden:
            table.add_column(_two_lines(name), justify="right", no_wrap=True)
    for series in panel.series:
        style = "bold" if series.label in panel.leaders else "dim"
        cells = _cells(panel, series)
        short = [cells[0], cells[1].replace(" (", "\n("), *(cell.partition(" (")[0] for cell in cells[2:])]
        del short[hidden]
        table.add_row(*(Text(cell, style=style) for cell in short))
    title = Text(f"{panel.title} ({panel.subtitle})", style="bold")
    return Group(title, table, Text(caption(panel, smoothed=False), style="dim"), "")


def markdown_table(panel: Panel) -> str:
    """Return the table as Markdown, with a heading line and a caption."""
    rows = [_header(panel), ["---", *("---:" for _ in _header(panel)[1:])]]
    for series in panel.series:
        cells = _cells(panel, series)
        if series.label in panel.leaders:
            cells[0] = f"**{cells[0]}**"
        rows.append(cells)
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([f"### {panel.title} ({panel.subtitle})", "", *lines, "", caption(panel, smoothed=True), ""])


def json_rows(panel: Panel) -> list[dict[str, Any]]:
    """Return one JSON object a series; each number has mean, min and max, or is null after a divergence."""
    return [
        {
            "task": panel.title,
            "scale": panel.setting.scale,
            "epochs": panel.setting.epochs,
            "steps": panel.setting.steps,
            "batch_size": panel.setting.batch_size,
            "subset": panel.setting.subset,
            "method": series.method,
            "label": series.label,
            "lr": series.runs[0].config.lr,
            "best_of_method": series.label in panel.leaders,
            "seeds": [run.config.seed for run in series.runs],
            "diverged": series.diverged,
            "training_loss": _object(series.final("train_eval_loss")),
            "batch_loss_ema": _object(series.final_smoothed("loss_ema")),
            "test_loss": _object(series.final("test_loss")),
            "test_accuracy": _object(series.final("test_accuracy")),
            "step_size_ema": _object(series.final_smoothed("step_size_ema")),
            "seconds": _object(series.seconds()),
            "step_milliseconds": _object(series.milliseconds()),
        }
        for series in panel.series
    ]


def caption(panel: Panel, *, smoothed: bool) -> str:
    """Return what the numbers of a table are, in a few sentences."""
    seeds = "one seed" if panel.seeds == 1 else f"mean (min–max) over {panel.seeds} seeds"
    factor = panel.series[0].runs[0].smoothing
    average = (
        f"Batch loss, EMA: each batch's before its step, moving average of factor {factor:g}. " if smoothed else ""
    )
    return (
        f"At the end of the run, {seeds}; losses contain the L2 term. Training loss: on a fixed part of the training "
        "data; test loss: on the test data; both with the weights that the method says to evaluate (averaged ones "
        f"where it keeps an average). {average}Sorted by training loss, the best setting of each method bold."
    )


def _header(panel: Panel) -> list[str]:
    """Names of the columns."""
    accuracy = ["test accuracy"] if panel.has_accuracy else []
    return ["method", "training loss", _SMOOTHED, "test loss", *accuracy, "last step size", "ms a step"]


def _two_lines(name: str) -> str:
    """The header of a narrow column, broken before its last word."""
    first, _, last = name.rpartition(" ")
    return f"{first}\n{last}" if first else last


def _cells(panel: Panel, series: Series) -> list[str]:
    """One row."""
    losses = [series.final("train_eval_loss"), series.final_smoothed("loss_ema"), series.final("test_loss")]
    cells = [series.label, *(_text(spread) for spread in losses)]
    if panel.has_accuracy:
        cells.append(_text(series.final("test_accuracy")))
    cells += [_text(series.final_smoothed("step_size_ema")), _text(series.milliseconds())]
    if series.diverged:
        count = "" if len(series.runs) == 1 else f" {series.diverged} of {len(series.runs)}"
        cells[1:] = [DIVERGED + count, *("–" for _ in cells[2:])]
    elif len(series.runs) != panel.seeds:
        cells[0] += f" ({len(series.runs)} seeds)" if len(series.runs) > 1 else " (1 seed)"
    return cells


def _text(spread: Spread | None) -> str:
    """Mean with range, in three significant digits."""
    if spread is None:
        return "–"
    if spread.low == spread.high:
        return number(spread.mean)
    return f"{number(spread.mean)} ({number(spread.low)}–{number(spread.high)})"


def number(value: float) -> str:
    """Return a number with three significant digits, four from 1 to 10, with an exponent below 0.001 and from 10,000.

    Example:
        >>> [number(value) for value in (0.000412345, 0.0082, 0.98213, 1.70812, 74.485, 2345.6, 0.0)]
        ['4.12e-4', '0.00820', '0.982', '1.708', '74.5', '2346', '0']
    """
    size = abs(value)
    if size == 0.0:
        return "0"
    if size < 1e-3 or size >= 1e4:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    if size >= 1e3:
        return f"{value:.0f}"
    return f"{value:.3f}" if 1.0 <= size < 10.0 else f"{value:#.3g}".rstrip(".")


def _object(spread: Spread | None) -> dict[str, float] | None:
    """For JSON."""
    return None if spread is None else {"mean": spread.mean, "min": spread.low, "max": spread.high}


def markdown(panels: Sequence[Panel]) -> str:
    """Return all tables as one Markdown document."""
    return "\n".join(markdown_table(panel) for panel in panels)
