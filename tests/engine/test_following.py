"""Along a line what has no gradient is that of the new point too; what Python read is compared."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import curvestep
from curvestep._errors import RecordingError

pytestmark = pytest.mark.usefixtures("float64")


def _recorded(make: Callable[[Tensor], Tensor]) -> tuple[curvestep.Tape, Tensor]:
    w = torch.tensor([-1.0, 2.0], requires_grad=True)
    with curvestep.record() as tape:
        make(w).backward()
    return tape, w


def test_the_gradient_takes_a_detached_value_of_its_own_point() -> None:
    tape, w = _recorded(lambda w: (w * w.detach().square()).sum())
    there = tape.gradient_along([w], [torch.ones(2)], 2.0)[0]
    assert there.tolist() == [1.0, 16.0]  # w², w held still where it was detached


def test_a_product_with_the_hessian_is_that_of_the_recorded_point() -> None:
    tape, w = _recorded(lambda w: (w.square() * (w > 0)).sum())
    assert tape.hvp([w], [torch.ones(2)])[0].tolist() == [0.0, 2.0]


def test_random_draws_without_a_gradient_stay() -> None:
    tape, w = _recorded(lambda w: (w * torch.bernoulli(w.detach().sigmoid()) * torch.rand(2)).sum())
    first, again = tape.loss_along([w], [torch.zeros(2)], [0.0, 0.0])
    assert first == again == tape.loss


def test_a_number_that_python_read_is_refused_where_it_changes() -> None:
    tape, w = _recorded(lambda w: w.square().sum() if w.max().item() > 0 else w.sum())
    assert tape.loss_along([w], [torch.tensor([1.0, 0.0])], [1.0]).item() == 4.0  # the maximum is 2 there too
    with pytest.raises(RecordingError, match="2 where they were and 3 there"):
        tape.loss_along([w], [torch.ones(2)], [1.0])


def test_a_condition_of_python_is_no_hindrance_where_it_holds() -> None:
    tape, w = _recorded(lambda w: w.square().sum() if bool((w < 9).all()) else w.sum())
    assert tape.loss_along([w], [torch.ones(2)], [1.0]).item() == 9.0
    with pytest.raises(RecordingError, match="1 where they were and 0 there"):
        tape.loss_along([w], [torch.ones(2)], [8.0])


def test_numbers_read_of_data_or_of_the_loss_do_not_matter() -> None:
    w = torch.tensor([-1.0, 2.0], requires_grad=True)
    with curvestep.record() as tape:
        scale = torch.tensor([3.0]).item()
        loss = scale * w.square().sum()
        assert loss.item() == 15.0
        loss.backward()
    assert tape.loss_along([w], [torch.ones(2)], [1.0]).item() == 27.0
