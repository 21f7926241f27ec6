"""A panel as a table: for the terminal, for a document, for a program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from curvestep.report.series import Panel, Series, Spread

if TYPE_CHECKING:
    from rich.table import Table

DIVERGED = "diverged"


def rich_table(panel: Panel) -> Table:
    """The table for the terminal; the best series of each method is bold.

    Args:
        panel: the runs.

    Returns:
        A table to print with rich.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{panel.title} ({panel.subtitle})", caption=caption(panel), title_justify="left")
    for index, name in enumerate(_header(panel)):
        table.add_column(name, justify="left" if index == 0 else "right", no_wrap=index == 0)
    for series in panel.series:
        style = "bold" if series.label in panel.leaders else "dim"
        table.add_row(*(Text(cell, style=style) for cell in _cells(panel, series)))
    return table


def markdown_table(panel: Panel) -> str:
    """The table for a document.

    Args:
        panel: the runs.

    Returns:
        Markdown with a heading line and a caption.
    """
    rows = [_header(panel), ["---", *("---:" for _ in _header(panel)[1:])]]
    for series in panel.series:
        cells = _cells(panel, series)
        if series.label in panel.leaders:
            cells[0] = f"**{cells[0]}**"
        rows.append(cells)
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([f"### {panel.title} ({panel.subtitle})", "", *lines, "", caption(panel), ""])


def json_rows(panel: Panel) -> list[dict[str, Any]]:
    """The table for a program.

    Args:
        panel: the runs.

    Returns:
        One JSON object a series; each number is an object with mean, min and max, or null after a divergence.
    """
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
            "train_loss": _object(series.final("train_loss")),
            "train_loss_ema": _object(series.final_smoothed("loss_ema")),
            "train_eval_loss": _object(series.final("train_eval_loss")),
            "test_loss": _object(series.final("test_loss")),
            "test_accuracy": _object(series.final("test_accuracy")),
            "step_size_ema": _object(series.final_smoothed("step_size_ema")),
            "seconds": _object(series.seconds()),
            "step_milliseconds": _object(series.milliseconds()),
        }
        for series in panel.series
    ]


def caption(panel: Panel) -> str:
    """What the numbers are.

    Args:
        panel: the runs.

    Returns:
        One sentence or two.
    """
    seeds = "one seed" if panel.seeds == 1 else f"mean (min-max) over {panel.seeds} seeds"
    smoothing = panel.series[0].runs[0].smoothing
    return (
        f"At the end of the run, {seeds}; losses contain the L2 term. Training loss: mean over the batches of the last "
        f"epoch, and as a moving average over steps (factor {smoothing:g}). Sorted by training loss, best rate bold."
    )


def _header(panel: Panel) -> list[str]:
    """Names of the columns."""
    accuracy = ["test accuracy"] if panel.has_accuracy else []
    return ["method", "training loss", "training loss, EMA", "test loss", *accuracy, "last step size", "ms a step"]


def _cells(panel: Panel, series: Series) -> list[str]:
    """One row."""
    losses = [series.final("train_loss"), series.final_smoothed("loss_ema"), series.final("test_loss")]
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
    return f"{number(spread.mean)} ({number(spread.low)}-{number(spread.high)})"


def number(value: float) -> str:
    """A number for reading.

    Args:
        value: any finite number.

    Returns:
        Three significant digits at least, without an exponent between 1e-4 and 1e5.

    Example:
        >>> number(0.000412345), number(1.70812), number(0.98213), number(3.2e-06)
        ('0.000412', '1.708', '0.982', '3.2e-06')
    """
    if value != 0.0 and not 1e-4 <= abs(value) < 1e5:
        return f"{value:.2g}"
    return f"{value:.3f}" if 0.1 <= abs(value) < 1e3 else f"{_three_digits(value)}"


def _three_digits(value: float) -> str:
    """Three significant digits in plain notation."""
    digits = f"{value:#.3g}"
    return f"{float(digits):.0f}" if "e" in digits else digits.rstrip(".")


def _object(spread: Spread | None) -> dict[str, float] | None:
    """For JSON."""
    return None if spread is None else {"mean": spread.mean, "min": spread.low, "max": spread.high}


def markdown(panels: Sequence[Panel]) -> str:
    """All tables as one document.

    Args:
        panels: the panels.

    Returns:
        Markdown.
    """
    return "\n".join(markdown_table(panel) for panel in panels)
