"""The schedules against the levels that the source states, on an optimizer of torch: they need nothing of ours."""

from __future__ import annotations

import io

import pytest
import torch
from torch.optim.lr_scheduler import LRScheduler

from curvestep.schedules import exponential, linear, ran, red


def optimizer_at(*levels: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [torch.zeros(1, requires_grad=True)], "lr": level} for level in levels])


def levels(optimizer: torch.optim.Optimizer, scheduler: LRScheduler, count: int) -> list[float]:
    found = []
    for _ in range(count):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_red_multiplies_by_the_same_factor_and_ends_at_one_half() -> None:
    optimizer = optimizer_at(1.0)
    found = levels(optimizer, red(optimizer, epochs=20), 25)
    assert found[0] == 1.0
    for before, after in zip(found[:20], found[1:21], strict=True):
        assert after / before == pytest.approx(0.5 ** (1 / 20), rel=1e-14)
    assert found[20:] == [0.5] * 5


def test_ran_is_periodic_with_the_source_s_phases() -> None:
    optimizer = optimizer_at(1.0)
    found = levels(optimizer, ran(optimizer), 60)
    period = [1.0] * 5 + [0.5] * 13 + [2.0] * 2
    assert found == period * 3


def test_exponential_is_geometric_between_its_ends() -> None:
    optimizer = optimizer_at(1.0)
    found = levels(optimizer, exponential(optimizer, steps=100, start=2.0, end=0.02), 103)
    assert found[0] == 2.0
    assert found[50] == pytest.approx(0.2, rel=1e-14)
    assert found[100:] == [0.02] * 3


def test_linear_is_a_line_between_its_ends() -> None:
    optimizer = optimizer_at(1.0)
    found = levels(optimizer, linear(optimizer, steps=100, start=2.0, end=0.02), 103)
    assert found[0] == 2.0
    assert found[50] == pytest.approx(1.01, rel=1e-14)
    assert found[100:] == pytest.approx([0.02] * 3, rel=1e-14)


def test_groups_keep_the_ratio_of_their_levels() -> None:
    optimizer = optimizer_at(1.0, 0.25, 0.0)
    scheduler = red(optimizer, epochs=2)
    for _ in range(2):
        optimizer.step()
        scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.125, 0.0]


@pytest.mark.parametrize(
    "make",
    [lambda o: red(o, 10), ran, lambda o: exponential(o, 10), lambda o: linear(o, 10)],
    ids=["red", "ran", "exp", "linear"],
)
@pytest.mark.parametrize("scheduler_last", [True, False])
def test_resume_is_exact_whichever_is_loaded_first(make, scheduler_last: bool) -> None:  # noqa: ANN001
    optimizer = optimizer_at(1.0, 0.5)
    scheduler = make(optimizer)
    whole = levels(optimizer, scheduler, 12)

    optimizer = optimizer_at(1.0, 0.5)
    scheduler = make(optimizer)
    head = levels(optimizer, scheduler, 7)
    buffer = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, buffer)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)

    optimizer = optimizer_at(1.0, 0.5)
    scheduler = make(optimizer)
    for part in ("optimizer", "scheduler") if scheduler_last else ("scheduler", "optimizer"):
        (optimizer if part == "optimizer" else scheduler).load_state_dict(saved[part])
    assert head + levels(optimizer, scheduler, 5) == whole


def test_attaching_after_loading_the_optimizer_is_corrected_by_loading_the_scheduler() -> None:
    optimizer = optimizer_at(1.0)
    scheduler = red(optimizer, 4)
    levels(optimizer, scheduler, 2)
    saved_optimizer, saved_scheduler = optimizer.state_dict(), scheduler.state_dict()

    optimizer = optimizer_at(1.0)
    optimizer.load_state_dict(saved_optimizer)
    scheduler = red(optimizer, 4)
    scheduler.load_state_dict(saved_scheduler)
    assert optimizer.param_groups[0]["lr"] == 0.5**0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda o: red(o, 0), r"epochs must be a whole number of at least 1, but epochs=0 was given"),
        (
            lambda o: red(o, 2.5),  # pyright: ignore[reportArgumentType]
            r"epochs=2\.5 was given",
        ),
        (lambda o: exponential(o, -1), r"steps=-1 was given"),
        (lambda o: linear(o, 0), r"steps=0 was given"),
        (lambda o: linear(o, 10, end=0.0), r"end=0\.0 was given"),
        (lambda o: exponential(o, 10, start=0.0), r"start=0\.0 was given"),
        (lambda o: exponential(o, 10, end=float("nan")), r"end=nan was given"),
    ],
)
def test_arguments_out_of_range_are_refused(make, message: str) -> None:  # noqa: ANN001
    with pytest.raises(ValueError, match=message):
        make(optimizer_at(1.0))
