"""The figure of one run's steps: loss, step size and curvature below each other, with how the steps ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from curvestep.report.figure import STYLE, _log_ticks, save

#: Title of a row, and the numbers in it; None where a step did not measure them.
Column = tuple[str, Sequence[float | None]]


def write_steps_figure(
    stem: Path, title: str, steps: Sequence[int], columns: Sequence[Column], outcomes: Mapping[str, int]
) -> tuple[Path, ...]:
    """Return the files of a figure of one run, as PNG and SVG; a column without a number above zero has no row."""
    import matplotlib
    from matplotlib.figure import Figure

    shown = [(name, *_positive(steps, values)) for name, values in columns]
    shown = [row for row in shown if row[1]]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 1.0 + 1.7 * max(len(shown), 1)), layout="constrained")
        grid = figure.subplots(max(len(shown), 1), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, x, y) in zip(grid, shown, strict=False):
            axes.set_yscale("log")
            dense = 2 * len(x) > len(steps)  # else measured now and then: points, with nothing drawn between them
            axes.plot(x, y, "-" if dense else ".", color="#1F5FA8", linewidth=1.2, markersize=3.0)
            low, high = min(y), max(y)
            margin = max((high / low) ** 0.06, 1.05)
            axes.set_ylim(low / margin, high * margin)
            _log_ticks(axes, low / margin, high * margin)
            axes.set_title(name, loc="left", fontsize=9, pad=3)
        grid[-1].set_xlabel("step")
        figure.suptitle("\n".join([title, outcome_shares(outcomes)]).strip(), fontsize=10, x=0.02, ha="left")
        return save(figure, stem.with_name(f"{stem.name}-steps"), 160)


def _positive(steps: Sequence[int], values: Sequence[float | None]) -> tuple[list[int], list[float]]:
    """Return the places and numbers that a logarithmic axis can show."""
    pairs = [(step, value) for step, value in zip(steps, values, strict=True) if value is not None and value > 0.0]
    return [step for step, _ in pairs], [value for _, value in pairs]


def outcome_shares(outcomes: Mapping[str, int]) -> str:
    """Return how steps ended, the most frequent way first.

    Example:
        >>> outcome_shares({"CLAMPED": 1, "TAKEN": 3})
        '75 % TAKEN, 25 % CLAMPED'
    """
    total = sum(outcomes.values())
    ordered = sorted(outcomes.items(), key=lambda item: -item[1])
    return ", ".join(f"{100.0 * count / total:.3g} % {name}" for name, count in ordered)
