"""Parts of the plan: the panels of some tasks, and the lines of some methods; the part that a page shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from benchmarks.paper import plan
from benchmarks.paper.plan import Figure, GridName, Line, Panel, ScaleName, all_lines
from curvestep.bench.errors import SettingError
from curvestep.bench.names import several


@final
@dataclass(frozen=True)
class Part:
    """What a page shows of the plan.

    Args:
        tasks: whose panels, separated by commas; all of them if it is empty.
        grid: that the tuned lines have.
        stem: of the page, with which the names of its figures begin.
    """

    tasks: str = ""
    grid: GridName = "whole"
    stem: str = "paper"

    def figures(self, scale: ScaleName, device: str = "cpu") -> dict[str, Figure]:
        """Its figures.

        Args:
            scale: of the plan.
            device: where the runs are made.

        Returns:
            Name → figure.

        Raises:
            SettingError: if the plan has no such task.
        """
        return of_tasks(plan.figures(scale, device, self.grid), self.tasks)


WHOLE = Part()
#: The panel of the source's scale that a CPU can make; the page `docs/paper-mnist.md`.
MNIST = Part("mnist-lenet", "coarse", "paper-mnist")


def mnist_panels() -> tuple[Panel, ...]:
    """The panel of MNIST at the source's scale, with the coarse grid."""
    return MNIST.figures("paper")["fig2"].panels


def of_tasks(figures: Mapping[str, Figure], tasks: str) -> dict[str, Figure]:
    """The figures with the panels of some tasks alone; one without such a panel is left out.

    Args:
        figures: of the plan.
        tasks: names, separated by commas; all of them if it is empty.

    Returns:
        Name → figure.

    Raises:
        SettingError: if the plan has no such task.
    """
    return _part(figures, "task", tasks, lambda line: line.wish.task)


def of_methods(figures: Mapping[str, Figure], methods: str) -> dict[str, Figure]:
    """The figures with the lines of some methods alone; a panel or figure without one is left out.

    Args:
        figures: of the plan.
        methods: names, separated by commas; all of them if it is empty.

    Returns:
        Name → figure.

    Raises:
        SettingError: if the plan has no such method.
    """
    return _part(figures, "method", methods, lambda line: line.method)


def named_figures(figures: Mapping[str, Figure], names: Sequence[str], what: str) -> list[Figure]:
    """Those of some names.

    Args:
        figures: what a selection has left of the plan.
        names: of figures.
        what: the selection, as the refusal says it.

    Returns:
        The figures, in the order of the names.

    Raises:
        SettingError: if names are given and none of them is left.
    """
    found = [figures[name] for name in names if name in figures]
    if names and not found:
        raise SettingError(
            f"There is no line of {what} in {', '.join(names)}; the figures that have one are "
            f"{', '.join(figures) or 'none'}."
        )
    return found


def _part(figures: Mapping[str, Figure], kind: str, text: str, name: Callable[[Line], str]) -> dict[str, Figure]:
    """The figures with the lines whose names are in a list."""
    known = dict.fromkeys(name(line) for line in all_lines(tuple(figures.values())))
    wanted = several(kind, text, known)
    found: dict[str, Figure] = {}
    for figure in figures.values():
        kept = [tuple(line for line in panel.lines if name(line) in wanted) for panel in figure.panels]
        panels = tuple(replace(panel, lines=own) for panel, own in zip(figure.panels, kept, strict=True) if own)
        if panels:
            found[figure.name] = replace(figure, panels=panels)
    return found
