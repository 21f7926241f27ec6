"""A fixed share of the fuzzer's cases, and that the fuzzer finds what is wrong."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from tests.fuzz import explicit
from tests.fuzz.campaign import GENERATORS
from tests.fuzz.generate import layout_program, random_program
from tests.fuzz.operations import BY_NAME, LOSSES, TABLE
from tests.fuzz.oracle import differences, examine
from tests.fuzz.planted import Planted, plant_all
from tests.fuzz.programs import Leaf, Program, Step
from tests.fuzz.shrink import shrink
from tests.fuzz.trace import MIXED, SHARED, Samples, couples, readings, trace_terms, where

pytestmark = [pytest.mark.usefixtures("float64"), pytest.mark.filterwarnings("ignore")]

# -- the fixed share ---------------------------------------------------------------------------------------------------

CHAINS = range(60)
LAYOUTS = range(0, 16 * len(TABLE), 53)  # 53 shares no factor with the table's length, so that all kinds come


@pytest.mark.parametrize(("generator", "seeds"), [("chains", CHAINS), ("layouts", LAYOUTS)])
def test_a_fixed_share(generator: str, seeds: range) -> None:
    failed = {}
    for seed in seeds:
        program = GENERATORS[generator](seed)
        faults = [] if program is None else examine(program).faults
        if faults:
            failed[generator, seed] = f"{faults[0].kind}: {faults[0].detail}"
    assert not failed, f"Print the program by random_program(seed).text() or layout_program(seed).text(): {failed}"


def test_most_cases_are_judged() -> None:
    reports = [examine(random_program(seed)) for seed in range(1000, 1040)]
    assert sum(report.checks > 0 for report in reports) > 30
    assert sum(report.checks for report in reports) > 5 * 30


# -- wrong rules are found ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", range(4), ids=["bent", "dropped", "rolled", "reversed"])
def test_a_wrong_rule_is_found_within_forty_cases(which: int) -> None:
    planted = plant_all()[which]
    table = (*[planted.row] * 3, *[BY_NAME[name] for name in ("sin", "tanh", "mul", "linear", "sum", "add", "exp")])
    assert _found(planted, lambda seed: random_program(seed, table), range(40)) is not None


@pytest.mark.parametrize("which", range(3), ids=["bent", "dropped", "rolled"])
def test_a_wrong_rule_is_found_alone(which: int) -> None:
    planted = plant_all()[which]
    assert _found(planted, lambda seed: layout_program(seed, [planted.row]), range(40)) is not None


def _found(planted: Planted, program: Callable[[int], Program | None], seeds: range) -> Program | None:
    """The first program that shows the wrong rule, shrunk; every smaller one still has it."""
    for seed in seeds:
        made = program(seed)
        if made is None or not any(step.operation == planted.row.name for step in made.steps):
            continue
        kinds = [fault.kind for fault in examine(made).faults]
        if kinds and kinds[0] in planted.kinds:
            small = shrink(made, kinds[0])
            if any(step.operation == planted.row.name for step in small.steps):
                assert len(small.steps) <= len(made.steps)
                return small
    return None


# -- the parts of the fuzzer -------------------------------------------------------------------------------------------


def test_the_table_is_large_and_its_names_are_unique() -> None:
    assert len(TABLE) >= 250
    assert len(LOSSES) >= 16
    assert len(BY_NAME) == len(TABLE) + len(LOSSES)


def test_every_operation_can_stand_somewhere() -> None:
    missing = {row.name for row in TABLE}
    for turn in range(24):
        for k, row in enumerate(TABLE):
            if row.name in missing and layout_program(k + turn * len(TABLE)) is not None:
                missing.discard(row.name)
    assert not missing


def test_a_seed_gives_the_same_program_again() -> None:
    assert random_program(7).text() == random_program(7).text()
    assert random_program(7).text() != random_program(8).text()


def test_a_printed_program_runs_alone_and_agrees() -> None:
    program = _cubic()
    run = subprocess.run([sys.executable, "-c", program.text()], capture_output=True, text=True, check=True)
    printed = run.stdout.splitlines()
    assert printed[0].startswith("Curvature(") and printed[1].startswith("truth")


def _cubic() -> Program:
    """The mean of (x p)³ squared over three samples."""
    leaves = (Leaf("x0", "data", (3, 2), 1, 0), Leaf("p1", "param", (2,), 2))
    steps = (Step("meets a parameter", "h0", "x0", {"w": "p1"}), Step("cube", "h1", "h0"))
    return Program(3, leaves, steps, Step("mean squares", "loss", "h1"))


def test_differences_give_the_derivatives_of_the_exponential() -> None:
    slope, total = differences({t: math.exp(t) for h in (0.04, 0.02, 0.01) for t in (h, -h)}, 1.0)
    assert abs(slope.value - 1) <= slope.error < 1e-7
    assert abs(total.value - 1) <= total.error < 1e-7


def test_the_truth_of_log_sums_behind_a_mask_is_right() -> None:
    x, mask = torch.randn(4), torch.tensor([1.0, 0.0, 1.0, 1.0])

    def hessian(sums: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        return torch.autograd.functional.hessian(lambda x: (sums(x) * mask).logsumexp(0), x)  # pyright: ignore

    true = hessian(lambda x: x.exp().cumsum(0).log())
    with explicit.twice_differentiable():
        found = [hessian(lambda x: x.logcumsumexp(0)), hessian(lambda x: torch.logcumsumexp(x, dim=0))]
    assert all(torch.allclose(each, true, rtol=1e-12, atol=1e-14) for each in found)


def test_the_truth_of_a_batch_norm_before_a_transposed_gradient_is_right() -> None:
    x, c = torch.randn(2, 3, 4, 1, requires_grad=True), torch.randn(2, 4, 3, 1).transpose(1, 2)

    def gradient(h: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(h, x, c)[0]

    centred = x - x.mean((0, 2, 3), keepdim=True)
    true = gradient(centred * (centred.square().mean((0, 2, 3), keepdim=True) + 1e-5).rsqrt())
    with explicit.twice_differentiable():
        found = F.batch_norm(x, None, None, training=True)
    torch.testing.assert_close(gradient(found), true, rtol=1e-12, atol=1e-13)


# Sums of exponentials behind a mask: torch's own double backward is wrong there.
MASKED_SUMS = 40893


def test_rows_of_log_sums_behind_a_mask_are_judged() -> None:
    report = examine(random_program(MASKED_SUMS))
    assert (report.faults, report.unjudged) == ([], [])


def test_where_double_backward_is_wrong_nothing_is_judged_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    judged = examine(random_program(MASKED_SUMS)).checks
    monkeypatch.setattr(explicit, "_WRITTEN", {})
    report = examine(random_program(MASKED_SUMS))
    assert report.faults == [] and 0 < report.checks < judged
    assert report.unjudged == ["total: the truths differ", "rows, parts and product: double backward differs"]


def test_samples_are_found_on_their_axis() -> None:
    base = torch.randn(2, 3)
    changed = [base.clone() for _ in range(3)]
    for s, other in enumerate(changed):
        other[:, s] += 1
    assert where(base, changed, 3) == Samples(1, (0, 1, 2))
    assert where(base, [base] * 3, 3) == SHARED
    assert where(base, [base + 1] * 3, 3) == MIXED


def test_folded_samples_own_their_entries() -> None:
    base = torch.randn(6, 2)
    changed = [base.clone() for _ in range(3)]
    for s, other in enumerate(changed):
        other[2 * s : 2 * s + 2] += 1
    found = where(base, changed, 3)
    assert found == Samples(0, (0, 0, 1, 1, 2, 2))
    assert isinstance(found, Samples)
    assert torch.equal(found.sums(torch.ones(6, 2), 3), torch.full((3,), 4.0))


def test_terms_of_a_plain_program_are_the_samples() -> None:
    assert trace_terms(_cubic()) == Samples(0, (0, 1, 2))


def _solved_together(loss: Step) -> Program:
    """A column of h0 (4, 3) is a sample, and the matrix for which all of them are solved is made of all."""
    leaves = (Leaf("x0", "data", (4, 3), 1, 1), Leaf("p1", "param", (), 2), Leaf("i2", "classes", (4, 3), 3, 1, 2))
    steps = (Step("meets a parameter", "h0", "x0", {"w": "p1"}), Step("solve for vectors", "h1", "h0"))
    return Program(3, leaves, steps, loss).used()


def test_terms_that_a_loss_adds_up_along_the_samples_are_theirs() -> None:
    program = _solved_together(Step("multilabel soft margin", "loss", "h1", {"hot": "i2.double()"}))
    report = examine(program)
    assert trace_terms(program) == MIXED
    assert (report.faults, report.unjudged) == ([], ["rows called exact where no truth is at hand"])


def test_a_loss_that_is_curved_along_the_samples_couples_them() -> None:
    program = _solved_together(Step("log of a softmax", "loss", "h1"))
    assert couples(program, 1e-8) and examine(program).faults == []


# x0 (2, 4) has the samples on its columns and is overwritten by x5 (4, 4), which has them on its rows.
SQUARE_DATA_LATE = 48724


def test_rows_along_the_only_axis_of_the_first_data_are_right() -> None:
    program = random_program(SQUARE_DATA_LATE)
    (other,) = readings(program)
    assert (trace_terms(program), trace_terms(other)) == (Samples(0, (3, 2, 1, 0)), Samples(1, (0, 1, 2, 3)))
    report = examine(program)
    assert report.faults == []
    assert report.unjudged == ["rows along the other axis of data that has two as long as the batch"]


def test_data_with_two_axes_of_the_batch_alone_has_its_samples_on_the_first() -> None:
    program = random_program(SQUARE_DATA_LATE)
    alone = replace(program, leaves=tuple(leaf for leaf in program.leaves if leaf.name != "x0"))
    assert list(readings(alone)) == []


def test_a_step_is_taken_out() -> None:
    program = _cubic()
    smaller = program.without(program.steps[1], "h0")
    assert [step.operation for step in smaller.steps] == ["meets a parameter"]
    assert smaller.loss.a == "h0"
    assert examine(smaller).faults == []
