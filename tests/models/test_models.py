"""Every model of the database against two truths, none of which is a nested jvp.

The first is double backward of each sample's loss on the full batch, with attention and normalisations in explicit
operations; the engine records the model's default kernels. The second, for smooth models, is central differences of
the loss, extrapolated twice. Tolerances and their reasons are those of `curvestep.testing.problem`.
"""

from __future__ import annotations

import pytest
import torch

import curvestep
from curvestep.testing.problem import check_problem
from curvestep.testing.report import RuleCheckError
from tests.engine.parts import check_parts
from tests.models import ROWS, Model

REFUSED = [row for row in ROWS if row.refused]
TAKEN = [row for row in ROWS if not row.refused]


def skip_if_missing(row: Model) -> None:
    if row.missing is not None:
        pytest.skip(row.missing)


@pytest.mark.filterwarnings("ignore")  # of the models' own code and of `transformers`, not of the engine
@pytest.mark.parametrize("row", TAKEN, ids=lambda row: row.name)
def test_curvature(row: Model) -> None:
    """Totals, splits and slopes of all passes, ⟨d, hvp(d)⟩, and the flag that says whether the split is exact."""
    skip_if_missing(row)
    problem = row.problem()
    # Both sides are the same loss, by default kernels and by explicit operations: they differ by rounding only.
    torch.testing.assert_close(problem.loss(), problem.terms().mean(), rtol=1e-13, atol=1e-13)
    report = check_problem(lambda dtype: problem, smooth=row.smooth, single=False, exact=row.exact)
    if report.failures:
        raise RuleCheckError(report)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", [row for row in TAKEN if row.exact], ids=lambda row: row.name)
def test_a_part_of_the_batch(row: Model) -> None:
    """Every part measured alone is that part of the whole, or the row says why the whole has to be measured."""
    skip_if_missing(row)
    problem = row.problem()
    with curvestep.record(batch_size=problem.batch_size) as tape:
        problem.loss().backward()
    check_parts(tape, problem, row.whole)
    tape.release()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.name)
def test_refusal(row: Model) -> None:
    """A model that cannot be followed is refused by the name of what stands in the way."""
    skip_if_missing(row)
    problem = row.problem()
    with curvestep.record() as tape:
        problem.loss().backward()
    with pytest.raises(curvestep.MissingRuleError, match=row.refused):
        tape.curvature(problem.params, problem.direction)
    tape.release()


def test_size_of_the_database() -> None:
    """Enough architectures, families of `transformers` among them, and no name twice."""
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert len([row for row in TAKEN if not row.needs]) >= 28
    assert len([row for row in TAKEN if row.needs]) >= 20
