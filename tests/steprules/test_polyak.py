"""Polyak's step on probes written by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from curvestep._probe import Need, Probe
from curvestep._records import Outcome
from curvestep.steprules import Polyak

PROBE = Probe(18.0, 144.0, None, None, direction_norm_sq=144.0, parameter_norm_sq=9.0, gradient_norm_sq=144.0)


def test_it_needs_no_more_than_the_loss() -> None:
    assert Polyak().needs == {Need.LOSS}


def test_the_size_is_the_loss_over_the_squared_gradient() -> None:
    choice = Polyak().choose(PROBE, 1.0, {})
    assert choice.rescaling == 18.0 / (144.0 + 1e-5)
    assert (choice.outcome, choice.advances, choice.state) == (Outcome.TAKEN, True, {})


def test_the_lower_bound_is_subtracted() -> None:
    assert Polyak(lower_bound=6.0, eps=0.0).choose(PROBE, 1.0, {}).rescaling == 12.0 / 144.0


@pytest.mark.parametrize("loss", [6.0, 5.0, -1.0])
def test_a_loss_at_or_below_the_bound_asks_for_no_step(loss: float) -> None:
    choice = Polyak(lower_bound=6.0).choose(replace(PROBE, loss=loss), 1.0, {})
    assert (choice.rescaling, choice.outcome) == (0.0, Outcome.AT_LOWER_BOUND)


def test_nothing_to_divide_by_is_an_infinite_step_for_the_optimizer_to_refuse() -> None:
    assert Polyak(eps=0.0).choose(replace(PROBE, gradient_norm_sq=0.0), 1.0, {}).rescaling == math.inf


@pytest.mark.parametrize(
    ("options", "message"), [({"lower_bound": math.inf}, "inf was"), ({"eps": -1.0}, r"eps=-1\.0")]
)
def test_arguments_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Polyak(**options)
