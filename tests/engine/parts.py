"""A part of the batch against the same samples of the whole: the check that graphs and models share."""

from __future__ import annotations

import warnings

import pytest
import torch

import curvestep
from curvestep.engine import Curvature
from curvestep.testing import Problem

# The same products over fewer rows, summed in another order in float64: some tens of roundings of 1e-16.
RELATIVE = 1e-12


def check_parts(tape: curvestep.Tape, problem: Problem, whole: str) -> None:
    """Each count of samples, spread and the first ones, gives entries of the whole split, exactly as many, silently."""
    full = tape.curvature(problem.params, problem.direction)
    assert full.per_sample is not None and tape.batch_size is not None
    if whole:
        with pytest.warns(UserWarning, match=whole):
            q = tape.curvature(problem.params, problem.direction, samples=1)
        assert q.samples == tape.batch_size and torch.equal(q.total, full.total)
        return
    for count in range(1, tape.batch_size):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            q = tape.curvature(problem.params, problem.direction, samples=count, part=count % 3)
            p = tape.curvature(problem.params, problem.direction, samples=range(count))
        check_part(q, full, count)
        check_part(p, full, count)
        assert p.indices == tuple(range(count))


def check_part(q: Curvature, full: Curvature, count: int) -> None:
    """One part against the whole."""
    assert full.per_sample is not None and q.per_sample is not None
    assert q.samples == count and q.per_sample.shape == (count,)
    assert q.per_sample_exact
    scale = max(float(full.per_sample.abs().max()), 1e-300)
    assert q.indices is not None and len(set(q.indices)) == count
    part = full.per_sample[list(q.indices)]
    assert (q.per_sample - part).abs().max() <= RELATIVE * scale, f"{q.per_sample} is not {part} for {count} samples"
    assert (q.total - part.mean()).abs() <= RELATIVE * scale, f"{q.total} is not {part.mean()} for {count} samples"
