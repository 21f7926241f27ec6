"""The shell's own contract: recordings, groups, GradScaler, refusals."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import curvestep
from curvestep._errors import CurvestepError, RecordingError
from curvestep._records import Outcome
from curvestep.engine import Tape
from curvestep.optim import AbstractComposedOptimizer, RescaledAdam, RescaledSGD
from tests.optim.problem import Problem, assert_bitwise_equal, assert_close, make_problem

Pair = tuple[Problem, RescaledSGD]


@pytest.fixture
def pair() -> Pair:
    problem = make_problem()
    return problem, RescaledSGD(problem.net.parameters())


def recorded(problem: Problem, optimizer: AbstractComposedOptimizer, batch: int = 0) -> Tape:
    """Record one batch without stepping."""
    optimizer.zero_grad()
    with optimizer.record() as tape:
        problem.loss(batch).backward()
    return tape


# ---------------------------------------------------------------------------------------------------- recordings


def test_a_step_without_a_recording_shows_both_forms(pair: Pair) -> None:
    problem, optimizer = pair
    problem.loss(0).backward()
    with pytest.raises(RecordingError, match=r"(?s)with optimizer\.record\(\):.*optimizer\.step\(closure\)"):
        optimizer.step()


def test_a_recording_serves_one_step(pair: Pair) -> None:
    recorded(*pair)
    pair[1].step()
    with pytest.raises(RecordingError, match="nothing was recorded since the last step"):
        pair[1].step()


def test_a_recording_without_backward_is_refused_and_freed(pair: Pair) -> None:
    problem, optimizer = pair
    before = problem.parameters()
    with optimizer.record() as tape:
        problem.loss(0)
    with pytest.raises(RecordingError, match="none ran"):
        optimizer.step()
    assert tape.released
    assert_bitwise_equal(problem.parameters(), before)
    with pytest.raises(RecordingError, match="nothing was recorded"):
        optimizer.step()


def test_a_backward_that_ran_twice_is_refused_and_freed(pair: Pair) -> None:
    problem, optimizer = pair
    before = problem.parameters()
    with optimizer.record() as tape:
        loss = problem.loss(0)
        loss.backward(retain_graph=True)
        loss.backward()
    with pytest.raises(RecordingError, match="2 ran"):
        optimizer.step()
    assert tape.released
    assert_bitwise_equal(problem.parameters(), before)


def test_a_new_recording_replaces_and_frees_the_former(pair: Pair) -> None:
    first = recorded(*pair, batch=0)
    second = recorded(*pair, batch=1)
    assert first.released and not second.released
    assert torch.equal(pair[1].step(), first_loss(batch=1))


def first_loss(batch: int) -> Tensor:
    """The loss of a batch at the first parameters."""
    return make_problem().loss(batch).detach()


def test_a_step_frees_its_recording(pair: Pair) -> None:
    tape = recorded(*pair)
    pair[1].step()
    assert tape.released


def test_an_error_inside_the_recording_passes_through_and_frees_it(pair: Pair) -> None:
    problem, optimizer = pair
    with pytest.raises(KeyError, match="mine"), optimizer.record() as tape:
        problem.loss(0).backward()
        raise KeyError("mine")
    assert tape.released
    with pytest.raises(RecordingError, match="nothing was recorded"):
        optimizer.step()


def test_an_error_inside_the_closure_passes_through_and_the_next_step_works(pair: Pair) -> None:
    problem, optimizer = pair

    def broken() -> Tensor:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        optimizer.step(broken)
    problem.train(optimizer, range(1))
    assert optimizer.last_step is not None and optimizer.last_step.step == 1


def test_the_closure_runs_once_with_gradients_enabled_and_its_value_is_returned(pair: Pair) -> None:
    problem, optimizer = pair
    calls = []

    def closure() -> Tensor:
        calls.append(torch.is_grad_enabled())
        return problem.closure(optimizer, 0)()

    with torch.no_grad():
        loss = optimizer.step(closure)
    assert calls == [True]
    assert loss.requires_grad  # the closure's own tensor, as torch.optim returns it


def test_a_closure_that_returns_nothing_gets_the_recorded_loss(pair: Pair) -> None:
    problem, optimizer = pair
    assert torch.equal(optimizer.step(lambda: problem.loss(0).backward()), first_loss(batch=0))


def test_training_leaves_no_recordings_behind(pair: Pair) -> None:
    """Reference counting alone frees a step: the garbage collector is off."""
    problem, optimizer = pair
    gc.collect()
    gc.disable()
    try:
        alive = []
        for batch in range(3):
            tape = recorded(problem, optimizer, batch)
            alive.append(weakref.ref(tape))
            del tape
            optimizer.step()
        assert [reference() for reference in alive] == [None] * 3
    finally:
        gc.enable()


# --------------------------------------------------------------------------------------------------- the gradient


def test_a_gradient_that_was_made_shorter_gives_the_same_step(pair: Pair) -> None:
    """The direction is half as long and the slope that of the loss: r doubles, and r d is what it was."""
    problem, optimizer = pair
    whole = make_problem()
    whole_optimizer = RescaledSGD(whole.net.parameters())
    recorded(whole, whole_optimizer)
    whole_optimizer.step()
    recorded(problem, optimizer)
    for parameter in problem.net.parameters():
        assert parameter.grad is not None
        parameter.grad.mul_(0.5)
    optimizer.step()
    assert optimizer.last_step is not None and whole_optimizer.last_step is not None
    assert whole_optimizer.last_step.rescaling is not None
    assert optimizer.last_step.rescaling == pytest.approx(2.0 * whole_optimizer.last_step.rescaling, rel=1e-12)
    assert_close(problem.parameters(), whole.parameters(), 1e-12)


def test_a_sparse_gradient_is_refused_in_a_sentence() -> None:
    table = nn.Embedding(6, 3, sparse=True)
    optimizer = RescaledSGD(table.parameters())
    with optimizer.record():
        table(torch.tensor([1, 2, 4])).square().sum(dim=1).mean().backward()
    with pytest.raises(CurvestepError, match=r"needs dense gradients, but .* \(6, 3\) .*sparse=False"):
        optimizer.step()


# --------------------------------------------------------------------------------------------------------- groups


def test_a_group_added_during_training_joins_the_average(pair: Pair) -> None:
    problem, optimizer = pair
    problem.train(optimizer, range(3))
    optimizer.add_param_group({"params": [torch.zeros(2, requires_grad=True)], "lr": 0.25})
    first, added = optimizer.param_groups
    assert added["rule_state"] == first["rule_state"] and added["steps"] == 3
    problem.train(optimizer, range(3, 4))
    assert optimizer.param_groups[1]["rule_state"]["count"] == 4


def test_a_group_with_a_rule_of_its_own_is_refused(pair: Pair) -> None:
    with pytest.raises(ValueError, match=r"beta3 belongs to the step rule.*beta3=0\.5.*beta3=0\.9"):
        pair[1].add_param_group({"params": [torch.zeros(2, requires_grad=True)], "beta3": 0.5})
    assert len(pair[1].param_groups) == 1


def test_betas_are_the_group_s_own() -> None:
    problem, same = make_problem(), make_problem()
    first, last = problem.layers
    layers: list[dict[str, Any]] = [{"params": first.parameters()}, {"params": last.parameters(), "betas": (0.5, 0.9)}]
    optimizer, plain = RescaledAdam(layers, lr=0.1), RescaledAdam(same.net.parameters(), lr=0.1)
    problem.train(optimizer, range(3))
    same.train(plain, range(3))
    assert not torch.equal(problem.parameters()[2], same.parameters()[2])


def test_named_parameters_are_accepted() -> None:
    problem, same = make_problem(), make_problem()
    named, plain = RescaledSGD(problem.net.named_parameters()), RescaledSGD(same.net.parameters())
    problem.train(named, range(2))
    same.train(plain, range(2))
    assert_bitwise_equal(problem.parameters(), same.parameters())


def test_hooks_of_torch_optim_run(pair: Pair) -> None:
    problem, optimizer = pair
    calls: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    problem.train(optimizer, range(1))
    assert calls == ["before", "after"]


# ----------------------------------------------------------------------------------------------------- GradScaler


def scaled_run(scaler: torch.amp.GradScaler, **options: Any) -> list[Tensor]:
    """Five steps with a scaler, in the recorded form."""
    problem = make_problem()
    optimizer = RescaledAdam(problem.net.parameters(), lr=0.1, **options)
    for batch in range(5):
        optimizer.zero_grad()
        with optimizer.record():
            scaler.scale(problem.loss(batch)).backward()
        scaler.step(optimizer)
        scaler.update()
    return problem.parameters()


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}])
def test_a_grad_scaler_changes_no_step(options: dict[str, Any]) -> None:
    problem = make_problem()
    problem.train(RescaledAdam(problem.net.parameters(), lr=0.1, **options), range(5))
    # Its factor is a power of two, so it comes off without rounding.
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    assert_close(scaled_run(scaler, **options), problem.parameters(), 1e-12)


def test_an_overflow_under_a_grad_scaler_is_skipped_and_lowers_the_scale(pair: Pair) -> None:
    problem, optimizer = pair
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    before = problem.parameters()
    with optimizer.record():
        scaler.scale(problem.loss(0)).backward()
    problem.layers[0].bias.grad[0] = float("inf")  # pyright: ignore[reportOptionalSubscript]
    scaler.step(optimizer)
    scaler.update()
    assert optimizer.outcomes == {Outcome.NON_FINITE_GRADIENT: 1}
    assert_bitwise_equal(problem.parameters(), before)
    assert scaler.get_scale() == 2.0**11


def test_a_closure_that_slips_past_the_grad_scaler_is_refused(pair: Pair) -> None:
    problem, optimizer = pair
    scaler = torch.amp.GradScaler("cpu")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = problem.loss(0)
        scaler.scale(loss).backward()
        return loss

    closure()
    with pytest.raises(CurvestepError, match=r"GradScaler.step was given a closure.*scaler\.step\(optimizer\)"):
        scaler.step(optimizer, closure)
    assert not {"found_inf", "grad_scale"} & vars(optimizer).keys(), "The scaler would multiply its next factor by it."


def test_gradients_that_were_unscaled_before_are_refused(pair: Pair) -> None:
    problem, optimizer = pair
    scaler = torch.amp.GradScaler("cpu")
    with optimizer.record() as tape:
        scaler.scale(problem.loss(0)).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(CurvestepError, match=r"scaler\.unscale_\(optimizer\) has removed it"):
        scaler.step(optimizer)
    assert tape.released


@pytest.mark.parametrize(
    "make",
    [
        curvestep.RescaledSGD,
        lambda p: RescaledAdam(p, weight_decay=0.01),
        lambda p: RescaledAdam(p, curvature_samples=0.5, curvature_every=2, max_relative_step=0.1),
        curvestep.Auto,
        curvestep.ALIG,
        curvestep.LQA,
        lambda p: curvestep.StepTunedSGD(p, 0.1),
        lambda p: curvestep.EGStepSize(RescaledAdam(p, lr=0.1)),
    ],
    ids=["RescaledSGD", "L2", "parts and laziness", "Auto", "ALIG", "LQA", "StepTunedSGD", "EGStepSize"],
)
@pytest.mark.parametrize("limit", [0.1, 1e9])
def test_unscaling_and_clipping_under_a_grad_scaler_are_those_without_it(make: Any, limit: float) -> None:
    """scale, unscale_, clip, step, update: the factor is a power of two, so that only sums are rounded otherwise."""
    plain, scaled = make_problem(), make_problem()
    first, second = make(plain.net.parameters()), make(scaled.net.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for batch in range(8):  # beyond a window's end
        first.zero_grad()
        with first.record():
            plain.loss(batch).backward()
        nn.utils.clip_grad_norm_(plain.net.parameters(), limit)
        first.step()
        second.zero_grad()
        with second.record(scaler=scaler):
            scaler.scale(scaled.loss(batch)).backward()
        scaler.unscale_(second)
        nn.utils.clip_grad_norm_(scaled.net.parameters(), limit)
        scaler.step(second)
        scaler.update()
        assert_close(scaled.parameters(), plain.parameters(), 1e-9)  # eight steps, each measured from rounded sums
        assert first.last_step is not None and second.last_step is not None
        assert second.last_step.outcome is first.last_step.outcome
        assert second.last_step.loss == (
            first.last_step.loss and pytest.approx(first.last_step.loss, rel=1e-9)
        )  # as the parameters


# --------------------------------------------------------------------------------------- what the rule is given


def test_a_loss_without_samples_is_announced() -> None:
    theta = torch.tensor([2.0, 1.0], requires_grad=True)
    optimizer = RescaledSGD([theta], lr=0.5)
    with optimizer.record():
        (theta**2).sum().backward()
    with pytest.warns(UserWarning, match=r"no axis along which samples.*record\(batch_size=…\)"):
        optimizer.step()
    torch.testing.assert_close(theta.detach(), torch.zeros(2))


def test_samples_that_mix_are_announced() -> None:
    weight, inputs = torch.randn(4, 3, requires_grad=True), torch.randn(6, 4)
    optimizer = RescaledSGD([weight], lr=0.5)
    with optimizer.record():
        features = torch.tanh(inputs @ weight)
        (features @ features.t()).logsumexp(1).mean().backward()  # each sample against all others
    with pytest.warns(UserWarning, match=r"samples mix.*mean over the batch is exact.*curvestep\.doctor"):
        optimizer.step()


def test_the_number_of_samples_can_be_said() -> None:
    theta = torch.tensor([2.0, 1.0], requires_grad=True)
    optimizer = RescaledSGD([theta], lr=0.5)
    with optimizer.record(batch_size=1):
        (theta**2).sum().backward()
    optimizer.step()  # warnings are errors here
    torch.testing.assert_close(theta.detach(), torch.zeros(2))


def test_what_is_kept_of_the_cotangents_changes_no_step() -> None:
    steps = []
    for memory in ("keep", "split"):
        torch.manual_seed(0)
        problem = make_problem()
        optimizer = RescaledAdam(problem.net.parameters(), lr=0.5)
        for batch in range(5):
            optimizer.zero_grad()
            with optimizer.record(memory=memory):
                problem.loss(batch).backward()
            optimizer.step()
        steps.append(problem.parameters())
    for kept, split in zip(*steps, strict=True):  # sums in another order: float64 rounding, grown over five steps
        torch.testing.assert_close(split, kept, rtol=1e-9, atol=1e-12)


@pytest.mark.gpu
def test_parameters_on_two_devices() -> None:
    first, second = nn.Linear(5, 6).double(), nn.Linear(6, 3).double().cuda()
    optimizer = RescaledAdam([*first.parameters(), *second.parameters()], lr=0.1, weight_decay=1e-3)
    inputs, targets = torch.randn(8, 5, dtype=torch.float64), torch.randint(3, (8,), device="cuda")
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        with optimizer.record():
            nn.functional.cross_entropy(second(first(inputs).tanh().cuda()), targets).backward()
        losses.append(optimizer.step().item())
    assert losses[-1] < losses[0]
