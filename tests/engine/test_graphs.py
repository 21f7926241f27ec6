"""Every network of the database of graphs against double backward, sample by sample, and central differences."""

from __future__ import annotations

import pytest

from curvestep.testing import RuleCheckError, check_problem
from tests.engine.graphs import GRAPHS, TASK_GRAPHS, Graph


@pytest.mark.parametrize("graph", GRAPHS + TASK_GRAPHS, ids=lambda graph: graph.name)
def test_graph(graph: Graph) -> None:
    report = check_problem(graph.problem, smooth=graph.smooth, exact=graph.exact)
    if report.failures:
        raise RuleCheckError(report)


def test_every_task_has_a_row() -> None:
    from curvestep.bench.tasks import TASKS

    assert {f"task {name}" for name in TASKS} == {graph.name for graph in TASK_GRAPHS}
