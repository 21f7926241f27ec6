"""The trial of a first scale: losses on the way in closed form; what is put back; runs that it leaves alone."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import curvestep
from curvestep import Outcome
from curvestep.engine import Tape
from curvestep.optim._recordings import Recordings
from curvestep.optim._trial import losses_on_the_way
from tests.optim.problem import Problem, assert_bitwise_equal, make_problem
from tests.optim.windowed import WindowedAdam

#: A first scale that is far too long on the problem of the tests, in the windows of Auto.
LONG: dict[str, Any] = {"first": 700.0, "window_growth": 1.3, "window_offset": 40}
#: The calls whose steps are on trial.
STEPS = 10
NAMES = ("average", "window_start", "exp_avg", "exp_avg_sq")


def outcome(optimizer: Any) -> Outcome:
    assert optimizer.last_step is not None
    return optimizer.last_step.outcome


def scale(optimizer: Any, name: str = "first") -> float:
    return float(optimizer.param_groups[0]["rule_state"][f"balance_{name}"])


def states(optimizer: Any) -> list[Tensor]:
    return [optimizer.state[p][name].clone() for p in optimizer._parameters() for name in NAMES]


def begun_at(problem: Problem, first: float, bound: float) -> WindowedAdam:
    """An optimizer before its first step whose scale is known."""
    optimizer = WindowedAdam(problem.net.parameters(), **LONG)
    for group in optimizer.param_groups:
        held = {"balance_first": first, "balance_scale": first, "balance_bound": bound}
        group["rule_state"] = {**group["rule_state"], **held}
    return optimizer


def test_steps_that_were_far_too_long_are_taken_back_and_the_run_begins_again_as_one_with_the_shorter_scale() -> None:
    problem, other = make_problem(), make_problem()
    begun = problem.parameters()
    optimizer = WindowedAdam(problem.net.parameters(), **LONG)
    problem.train(optimizer, range(STEPS))
    first, bound = scale(optimizer), scale(optimizer, "bound")
    assert first == pytest.approx(10.0 * bound) and not any(map(torch.equal, problem.parameters(), begun))
    loss = problem.loss(STEPS).item()
    problem.train(optimizer, range(STEPS, STEPS + 1))
    assert outcome(optimizer) is Outcome.TAKEN_BACK and optimizer.last_step is not None
    assert (optimizer.last_step.loss, optimizer.last_step.step_size, optimizer.last_step.step) == (loss, 0.0, 0)
    assert_bitwise_equal(problem.parameters(), begun)
    assert scale(optimizer) == scale(optimizer, "scale") == pytest.approx(0.1 * bound)
    shorter = begun_at(other, scale(optimizer), bound)
    batches = range(STEPS + 1, 70)
    problem.train(optimizer, batches)
    other.train(shorter, batches)
    assert_bitwise_equal(problem.parameters(), other.parameters())
    assert_bitwise_equal(states(optimizer), states(shorter))
    assert optimizer.outcomes[Outcome.TAKEN_BACK] == 1 and optimizer.outcomes[Outcome.WINDOW_ENDED] == 1


@pytest.mark.parametrize("how", ["closure", "record", "attach"])
def test_a_run_whose_first_steps_were_not_too_long_is_the_run_without_a_trial(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """s₀ is on trial, for it is 10 times what is taken for the first parabola's step; the trial costs one forward."""
    plain, tried = make_problem(), make_problem()
    problem = make_problem()
    begun = WindowedAdam(problem.net.parameters(), **LONG)
    problem.train(begun, range(1))
    bound = scale(begun, "bound")
    forwards = []
    original = Tape.loss_along

    def spied(tape: Tape, *args: Any) -> Tensor:
        forwards.append(len(args[2]))
        return original(tape, *args)

    monkeypatch.setattr(Tape, "loss_along", spied)
    first, second = begun_at(plain, bound, 0.0), begun_at(tried, bound, 0.1 * bound)
    if how == "attach":
        curvestep.attach(tried.net, second)
    for batch in range(STEPS + 5):
        plain.train(first, range(batch, batch + 1))
        if how == "closure":
            tried.train(second, range(batch, batch + 1))
            continue
        if how == "record":
            with second.record():
                tried.loss(batch).backward()
        else:
            tried.loss(batch).backward()
        second.step()
        second.zero_grad()
    assert forwards == [1]
    assert second.outcomes == first.outcomes == {Outcome.WINDOW_SCALE: STEPS + 5}
    assert_bitwise_equal(plain.parameters(), tried.parameters())
    assert_bitwise_equal(states(first), states(second))


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_the_losses_on_the_way_are_closed_forms(decay: float, pieces: int) -> None:
    """J_s = ½ ‖θ − x_s‖² and the L2 term, at θ and a tenth of the way from x₀ to it."""
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theta = torch.full((3,), 2.0, dtype=torch.float64, requires_grad=True)
    optimizer = WindowedAdam([theta], weight_decay=decay)
    begun = theta.detach().clone()
    for _ in range(3):
        with optimizer.record():
            (0.5 * ((theta - x) ** 2).sum(dim=1)).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    tapes = []
    for rows in x.chunk(pieces):
        with curvestep.record() as tape:
            ((0.5 * ((theta - rows) ** 2).sum(dim=1)).mean() / pieces).backward()
        tapes.append(tape)
    found = losses_on_the_way(Recordings(tapes, None), optimizer.param_groups, optimizer.state, (0.1, 0.0), "default")

    def loss(at: Tensor) -> float:
        return float(0.5 * ((at - x) ** 2).sum(dim=1).mean() + 0.5 * decay * at.dot(at))

    end = theta.detach()
    assert found == pytest.approx([loss(end), loss(begun + 0.1 * (end - begun)), loss(begun)], rel=1e-14)


def test_a_first_window_whose_average_lies_above_its_beginning_is_taken_back() -> None:
    """The batch of the trial is best at the iterate, those after it far away, the window's at the beginning."""
    theta = torch.full((4, 4), 10.0, dtype=torch.float64, requires_grad=True)
    begun, optimizer = theta.detach().clone(), WindowedAdam([theta], **LONG)
    bests = {STEPS: math.nan, **dict.fromkeys(range(STEPS + 1, 40), 20.0)}
    for call in range(41):
        best = bests.get(call, 9.99)
        with optimizer.record(batch_size=1):
            (theta - (theta.detach() + 1e-6 if math.isnan(best) else best)).square().mean().backward()
        assert not torch.equal(theta, begun) or call == 0
        optimizer.step()
        optimizer.zero_grad()
    assert outcome(optimizer) is Outcome.TAKEN_BACK and optimizer.outcomes[Outcome.TAKEN_BACK] == 1
    assert torch.equal(theta, begun) and not optimizer._ends_window()
    assert optimizer.last_window is not None and optimizer.last_window.loss > optimizer.last_window.loss_before
    assert scale(optimizer) == pytest.approx(0.1 * scale(optimizer, "bound"))


def test_a_bad_batch_at_the_first_windows_end_takes_nothing_back() -> None:
    problem = make_problem()
    optimizer = begun_at(problem, 1e-3, 1e-4)
    problem.train(optimizer, range(40))
    optimizer.zero_grad()
    before = problem.parameters()
    assert optimizer._ends_window()
    with optimizer.record():
        (problem.loss(0) * float("nan")).backward()
    optimizer.step()
    optimizer.zero_grad()
    assert outcome(optimizer) is Outcome.NON_FINITE_LOSS and optimizer._ends_window()
    assert_bitwise_equal(problem.parameters(), before)
    problem.train(optimizer, range(1))
    assert outcome(optimizer) is Outcome.WINDOW_ENDED


@pytest.mark.parametrize("saved", [STEPS - 1, STEPS, STEPS + 1, STEPS + 2])
def test_a_run_resumes_bit_for_bit_before_and_after_it_is_taken_back(saved: int) -> None:
    whole, cut, resumed = make_problem(torch.float32), make_problem(torch.float32), make_problem(torch.float32)
    first, second = (WindowedAdam(each.net.parameters(), **LONG) for each in (whole, cut))
    whole.train(first, range(60))
    cut.train(second, range(saved))
    buffer = io.BytesIO()
    torch.save({"net": cut.net.state_dict(), "optimizer": second.state_dict()}, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=True)
    third = WindowedAdam(resumed.net.parameters(), **LONG)
    resumed.net.load_state_dict(loaded["net"])
    third.load_state_dict(loaded["optimizer"])
    resumed.train(third, range(saved, 60))
    assert first.outcomes == third.outcomes and first.outcomes[Outcome.TAKEN_BACK] == 1
    assert_bitwise_equal(whole.parameters(), resumed.parameters())
    assert_bitwise_equal(states(first), states(third))


def test_a_compiled_step_takes_back_what_the_plain_one_does() -> None:
    plain, compiled = make_problem(), make_problem()
    first, second = (WindowedAdam(each.net.parameters(), **LONG) for each in (plain, compiled))
    step = second.compile(lambda x, y: nn.functional.cross_entropy(compiled.net(x), y), backend="eager")
    for batch in range(STEPS + 1):
        plain.train(first, range(batch, batch + 1))
        step(compiled.inputs[batch % 5], compiled.targets[batch % 5])
    assert step.fallback is None and first.outcomes == second.outcomes
    assert_bitwise_equal(plain.parameters(), compiled.parameters())


def test_a_scaled_loss_is_judged_as_the_plain_one() -> None:
    plain, scaled = make_problem(torch.float32), make_problem(torch.float32)
    first, second = (WindowedAdam(each.net.parameters(), **LONG) for each in (plain, scaled))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for batch in range(STEPS + 2):
        plain.train(first, range(batch, batch + 1))
        scaled.train_scaled(second, scaler, range(batch, batch + 1))
    assert first.outcomes == second.outcomes and first.outcomes[Outcome.TAKEN_BACK] == 1
    assert_bitwise_equal(plain.parameters(), scaled.parameters())


@pytest.mark.parametrize("reads", [False, True], ids=["overflows", "reads"])
def test_a_loss_that_is_not_finite_is_taken_back_and_one_that_cannot_be_run_again_is_not(reads: bool) -> None:
    problem = make_problem()
    begun = problem.parameters()
    optimizer = WindowedAdam(problem.net.parameters(), **LONG)
    problem.train(optimizer, range(STEPS))
    optimizer.zero_grad()

    def away() -> Tensor:
        return torch.stack([(p - b).norm() for p, b in zip(problem.net.parameters(), begun, strict=True)]).sum()

    far = away().item()
    with optimizer.record():
        loss, length = problem.loss(0), away()
        if reads:  # Python takes another branch a tenth of the way
            loss = loss * (2.0 if length.item() > 0.5 * far else 1.0)
        else:
            loss = loss + torch.exp(2000.0 * length / far)
        loss.backward()
    assert math.isfinite(float(loss.detach())) is reads
    optimizer.step()
    assert outcome(optimizer) is (Outcome.WINDOW_SCALE if reads else Outcome.TAKEN_BACK)


def test_a_scale_that_the_first_parabola_does_not_contradict_is_not_on_trial() -> None:
    problem = make_problem()
    optimizer = curvestep.Auto(problem.net.parameters())
    problem.train(optimizer, range(STEPS))
    assert 0.0 < scale(optimizer) < 6.0 * scale(optimizer, "bound")
    with optimizer.record() as tape:
        problem.loss(0).backward()
    assert tape.released
