"""The engine against the truths on one loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from curvestep._numerics import dot
from curvestep.engine import Curvature, Tape, record, slopes_sweep
from curvestep.engine.data.curvature import Form
from curvestep.testing.report import Comparison, RuleReport
from curvestep.testing.truths import Problem, Truth, central_differences, double_backward

# Both sides round in float64 with a condition number far below 1e6, so 1e-9 is a wrong formula, not rounding.
TOTAL_TOLERANCE = 1e-9
PER_SAMPLE_TOLERANCE = 1e-8
# Step 2^-5, halved twice and extrapolated twice: the truncation is O(h⁶) ≈ 1e-9 times a sixth derivative, the rounding
# 4 ε |J| / h² ≈ 2e-11 times the gain of the extrapolation, about 2. Sixth derivatives of up to 100 leave 1e-6 safe.
DIFFERENCE_TOLERANCE = 1e-6
# 2^-24 ≈ 6e-8 an operation, over some hundred to thousand of them in a net.
SINGLE_TOLERANCE = 1e-4
# An entry of per_sample that nearly cancels is compared on the scale of this fraction of the mean magnitude.
FLOOR = 1e-2
# Rounding of a second difference is about 2e-11 of the value itself; where the curvature is smaller than 1e-4 of the
# value, that part of the value is the scale, so that 1e-6 of it is five times the rounding.
VALUE_SHARE = 1e-4
FORMS: tuple[Form, ...] = ("tangent", "taylor")  # "auto" is compared first
SMALLEST = 1e-300  # keeps 0/0 out of errors; any difference from an exact zero still counts as infinite


def measure(problem: Problem, *, per_sample: bool = True) -> tuple[Curvature, Tape]:
    """Record the loss, run its backward and ask the engine.

    Args:
        problem: what to record.
        per_sample: as in `Tape.curvature`.

    Returns:
        The engine's answer, and the tape, not yet released.
    """
    with record(batch_size=problem.batch_size) as tape:
        loss = problem.loss()
        loss.backward()
    for p in problem.params:
        p.grad = None
    return tape.curvature(problem.params, problem.direction, per_sample=per_sample), tape


def check_problem(
    make: Callable[[torch.dtype], Problem],
    *,
    variant: str = "",
    smooth: bool = True,
    single: bool = True,
    exact: bool | None = True,
) -> RuleReport:
    """Compare the engine with double backward and central differences on one loss.

    Args:
        make: builds the problem in a dtype; the float32 problem must hold the float64 one's numbers, rounded.
        variant: a name for the report.
        smooth: whether central differences are a truth (no kink of ReLU or of a maximum within reach of a step).
        single: also run the engine in float32 against the float64 truth.
        exact: the flag that the engine must give its split; None where the split may be unknown. Where the engine
            calls it exact, every entry is compared, whatever is given here.

    Returns:
        The report; failures are listed in it, not raised.

    Example:
        >>> import torch
        >>> from curvestep.testing import Problem, check_problem
        >>> def make(dtype):
        ...     w, x = torch.tensor([0.5], dtype=dtype, requires_grad=True), torch.tensor([1.0, 2.0], dtype=dtype)
        ...     return Problem([w], [torch.ones(1, dtype=dtype)], lambda: (w * x).exp().mean(), lambda: (w * x).exp())
        >>> check_problem(make).failures
        ()
    """
    problem = make(torch.float64)
    truth = double_backward(problem)
    found: list[Comparison] = []
    sources: dict[str, str] = {}
    flags: dict[str, bool] = {}
    q, tape = measure(problem)
    ops = tuple(dict.fromkeys(node.name for node in tape.nodes if node.live))
    forms = [(form, tape.curvature(problem.params, problem.direction, form=form)) for form in FORMS]
    split_free = tape.curvature(problem.params, problem.direction, per_sample=False)
    product = tape.hvp(problem.params, problem.direction)
    each = slopes_sweep(tape.recording, problem.params, problem.direction)
    tape.release()
    sources[variant], flags[variant] = q.source, q.per_sample_exact
    scales = _scales(truth)
    found += _against(variant, q, truth, scales, (TOTAL_TOLERANCE, PER_SAMPLE_TOLERANCE), exact)
    for form, q_form in forms:
        name = f"{variant} as {form}"
        found += _against(name, q_form, truth, scales, (TOTAL_TOLERANCE, PER_SAMPLE_TOLERANCE), None)
    along = dot(product, problem.direction)
    found.append(_compare(variant, "total of hvp", along, truth.curvatures.mean(), scales[0], TOTAL_TOLERANCE))
    found.append(
        _compare(variant, "total without split", split_free.total, truth.curvatures.mean(), scales[0], TOTAL_TOLERANCE)
    )
    found.append(
        _compare(variant, "total of the samples' slopes", each.total, truth.slopes.mean(), scales[2], TOTAL_TOLERANCE)
    )
    if each.per_sample_exact and each.per_sample is not None:
        found += [
            _compare(variant, f"slope of sample {i}", a, b, scales[2], PER_SAMPLE_TOLERANCE)
            for i, (a, b) in enumerate(zip(each.per_sample, truth.slopes, strict=True))
        ]
    if exact is not None and q.per_sample_exact is not exact:
        found.append(
            Comparison(variant, "per_sample_exact", "the row", float(q.per_sample_exact), float(exact), 1.0, 0.0)
        )
    if smooth:
        slope, curvature = central_differences(problem, problem.loss)
        name, tolerance = "central differences", DIFFERENCE_TOLERANCE
        least = VALUE_SHARE * float(problem.terms().detach().abs().mean())
        found.append(_compare(variant, "slope", q.slope, slope, max(scales[2], least), tolerance, name))
        found.append(_compare(variant, "total", q.total, curvature, max(scales[0], least), tolerance, name))
        if q.per_sample_exact and q.per_sample is not None:
            _, rows = central_differences(problem, problem.terms)
            least = max(least, float(rows.abs().mean()))
            found += [
                _compare(variant, f"per_sample[{i}]", a, b, max(least, abs(float(b))), tolerance, name)
                for i, (a, b) in enumerate(zip(q.per_sample, rows, strict=True))
            ]
    if single:
        variant = f"{variant} float32"
        q, tape = measure(make(torch.float32))
        tape.release()
        sources[variant], flags[variant] = q.source, q.per_sample_exact
        mean = (scales[0], max(scales[0], float(truth.curvatures.abs().mean())), scales[2])
        found += _against(variant, q, truth, mean, (SINGLE_TOLERANCE, SINGLE_TOLERANCE), exact)
    return RuleReport(tuple(found), ops, sources, flags)


def _scales(truth: Truth) -> tuple[float, float, float]:
    """Scales of the errors: of the total, the least for one sample, and of the slope."""
    # A curvature that is zero has no relative error; 1e-6 of the slope's scale stands in, and 1e-9 of that is rounding.
    tiny = 1e-6 * truth.slope_scale + 1e-300
    total = max(float(truth.curvatures.abs().mean()), tiny)
    return total, max(FLOOR * total, tiny), max(truth.slope_scale, 1e-300)


def _against(
    variant: str,
    q: Curvature,
    truth: Truth,
    scales: tuple[float, float, float],
    tolerances: tuple[float, float],
    exact: bool | None,
) -> list[Comparison]:
    """Compare one answer with double backward."""
    found = [
        _compare(variant, "slope", q.slope, truth.slopes.mean(), scales[2], tolerances[0]),
        _compare(variant, "total", q.total, truth.curvatures.mean(), scales[0], tolerances[0]),
    ]
    if not q.per_sample_exact and not exact:
        return found
    if q.per_sample is None or q.per_sample.shape != truth.curvatures.shape:
        entries = 0 if q.per_sample is None else len(q.per_sample)
        found.append(Comparison(variant, "number of samples", "the terms", entries, len(truth.curvatures), 1.0, 0.0))
        return found
    for i, (a, b) in enumerate(zip(q.per_sample, truth.curvatures, strict=True)):
        found.append(_compare(variant, f"per_sample[{i}]", a, b, max(scales[1], abs(float(b))), tolerances[1]))
    return found


def _compare(
    variant: str,
    quantity: str,
    found: Tensor,
    truth: Tensor,
    scale: float,
    tolerance: float,
    truth_from: str = "double backward",
) -> Comparison:
    a, b = float(found), float(truth)
    return Comparison(variant, quantity, truth_from, a, b, abs(a - b) / max(scale, SMALLEST), tolerance)
