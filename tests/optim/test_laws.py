"""What holds for every optimizer of the database, whatever its direction and options."""

from __future__ import annotations

import copy
import gc
import io
import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import curvestep.schedules
from curvestep._errors import CurvestepError
from curvestep._records import Outcome
from curvestep.optim import AbstractRecordedOptimizer
from tests.methods import CASE_IDS, CASES, METHODS, Method, Options, Refusal
from tests.optim.problem import Problem, assert_bitwise_equal, assert_close, make_problem

every_case = pytest.mark.parametrize(("method", "options"), CASES, ids=CASE_IDS)


def cases_where(holds: Callable[[Method, Options], bool]) -> pytest.MarkDecorator:
    """The cases of the methods that a law speaks of."""
    chosen = [(name, case) for name, case in zip(CASE_IDS, CASES, strict=True) if holds(*case)]
    return pytest.mark.parametrize(
        ("method", "options"), [case for _, case in chosen], ids=[name for name, _ in chosen]
    )


every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())


def snapshot(optimizer: AbstractRecordedOptimizer) -> dict[str, Any]:
    """A copy of everything that affects the next step."""
    state = copy.deepcopy(optimizer.state_dict())
    for group in state["param_groups"]:
        del group["outcomes"]  # counts a skipped step too
    return state


def assert_same_state(left: dict[str, Any], right: dict[str, Any]) -> None:
    """Fail unless two snapshots agree bit for bit; ``effective_lr`` only reports the last step."""

    def plain(state: Any) -> Any:
        if isinstance(state, Tensor):
            return (str(state.dtype), state.tolist())
        if isinstance(state, dict):
            return {key: plain(value) for key, value in state.items() if key != "effective_lr"}
        return [plain(value) for value in state] if isinstance(state, (list, tuple)) else state

    assert plain(left) == plain(right)


def outcome_of(optimizer: AbstractRecordedOptimizer) -> Outcome:
    assert optimizer.last_step is not None
    return optimizer.last_step.outcome


# ------------------------------------------------------------------------------------------------------- contract


@every_case
def test_closure_and_recording_are_the_same_step(method: Method, options: Options) -> None:
    by_closure, by_record = make_problem(), make_problem()
    first = method.make(by_closure.net.parameters(), **options)
    second = method.make(by_record.net.parameters(), **options)
    for batch in range(4):
        returned = first.step(by_closure.closure(first, batch))
        second.zero_grad()
        with second.record() as tape:
            unrecorded = tape.released  # where the step needs nothing of it; the loss then stays unknown
            loss = by_record.loss(batch)
            loss.backward()
        stepped = second.step()
        assert stepped is None if unrecorded else torch.equal(stepped, returned)
        assert first.last_step is not None and second.last_step is not None
        assert second.last_step == (replace(first.last_step, loss=None) if unrecorded else first.last_step)
    assert_bitwise_equal(by_closure.parameters(), by_record.parameters())


@every_case
def test_training_lowers_the_loss_and_keeps_the_dtype(method: Method, options: Options) -> None:
    dtype = torch.float32
    problem = make_problem(dtype)
    optimizer = method.make(problem.net.parameters(), **{**options, **method.learns})
    problem.train(optimizer, range(40 * method.patience))
    with torch.no_grad():
        start, end = (sum(p.loss(batch).item() for batch in range(5)) for p in (make_problem(dtype), problem))
    assert end < 0.8 * start
    assert {parameter.dtype for parameter in problem.net.parameters()} == {dtype}


@pytest.mark.filterwarnings("ignore:The curvature of a part of the batch")  # batch norm: all of it is measured
@every_case
def test_gradients_buffers_modes_and_random_numbers_are_left_alone(method: Method, options: Options) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 3))
    inputs, targets = torch.randn(8, 5), torch.randint(3, (8,))
    optimizer = method.make(net.parameters(), **options)
    with optimizer.record():
        nn.functional.cross_entropy(net(inputs), targets).backward()
    gradients = [
        (parameter.grad, parameter.grad.clone()) for parameter in net.parameters() if parameter.grad is not None
    ]
    buffers, generator = copy.deepcopy(dict(net.named_buffers())), torch.get_rng_state()
    optimizer.step()
    assert outcome_of(optimizer).moved
    for parameter, (gradient, copied) in zip(net.parameters(), gradients, strict=True):
        assert parameter.grad is gradient and torch.equal(gradient, copied)
        assert parameter.requires_grad
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in net.named_buffers())
    assert buffers["1.num_batches_tracked"] == 1  # the statistics moved once, in the recorded forward
    assert torch.equal(generator, torch.get_rng_state()) and net.training


def test_no_step_leaves_anything_for_the_collector() -> None:
    gc.disable()
    try:
        for name, (method, options) in zip(CASE_IDS, CASES, strict=True):
            problem = make_problem()
            optimizer = method.make(problem.net.parameters(), **options)
            problem.train(optimizer, range(3))  # caches fill up
            gc.collect()
            gc.freeze()  # what is there by now is not looked through again
            problem.train(optimizer, range(3))
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            kinds = [type(o) for o in gc.garbage]
            ours = {k.__name__ for k in kinds if issubclass(k, Tensor) or k.__module__.startswith("curvestep")}
            assert not ours, f"{name}: reference cycles hold {ours} until the collector comes"
            gc.set_debug(0)
            gc.garbage.clear()
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        gc.unfreeze()


@every_case
def test_the_step_is_published(method: Method, options: Options) -> None:
    problem = make_problem()
    optimizer = method.make(problem.net.parameters(), **method.without_decay(options))
    before = problem.parameters()
    problem.train(optimizer, range(1))
    record = optimizer.last_step
    assert record is not None and record.rescaling is not None
    assert record.step == 1
    assert (
        record.step_size == pytest.approx(optimizer.param_groups[0]["effective_lr"], rel=1e-15) and record.step_size > 0
    )
    if not method.rescales:
        return
    assert record.direction_norm is not None
    assert record.step_size == record.ell * record.rescaling
    length = torch.cat([(a - b).reshape(-1) for a, b in zip(problem.parameters(), before, strict=True)]).norm().item()
    assert length == pytest.approx(record.step_size * record.direction_norm, rel=1e-12)
    most = optimizer.param_groups[0].get("max_relative_step", math.inf)
    assert length <= most * max(1.0, _norm(before)) * (1 + 1e-12)


def _norm(tensors: list[Tensor]) -> float:
    return torch.cat([tensor.reshape(-1) for tensor in tensors]).norm().item()


@pytest.mark.parametrize(
    ("method", "row"),
    [(method, row) for method in METHODS.values() for row in method.refusals],
    ids=[f"{name}-{row.options}" for name, method in METHODS.items() for row in method.refusals],
)
def test_bad_options_are_refused_in_a_sentence(method: Method, row: Refusal) -> None:
    parameter = torch.zeros(2, requires_grad=True)
    with pytest.raises(ValueError, match=row.message):
        method.make([parameter], **row.options)
    if not method.group_options:
        return
    with pytest.raises(ValueError, match=row.message):
        method.make([{"params": [parameter], **method.as_group(row.options)}])


@every_method
def test_unknown_options_are_refused(method: Method) -> None:
    with pytest.raises(TypeError, match="learnign_rate"):
        method.make([torch.zeros(2, requires_grad=True)], learnign_rate=1.0)


@every_method
def test_state_is_what_the_row_says(method: Method) -> None:
    for variant, names in method.state_per_parameter.items():
        problem = make_problem()
        optimizer = method.make(problem.net.parameters(), **method.variants[variant])
        problem.train(optimizer, range(2))
        for parameter in problem.net.parameters():
            tensors = {name for name, value in optimizer.state.get(parameter, {}).items() if isinstance(value, Tensor)}
            assert tensors == set(names)


# ------------------------------------------------------------------------------------------------ save and resume


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_resumed_run_is_the_uninterrupted_run_bit_for_bit(
    method: Method, options: Options, dtype: torch.dtype
) -> None:
    def setup() -> tuple[Problem, AbstractRecordedOptimizer, torch.optim.lr_scheduler.LRScheduler]:
        problem = make_problem(dtype)
        optimizer = method.make(problem.net.parameters(), **options)
        return problem, optimizer, curvestep.schedules.exponential(optimizer, 20)

    def train(batches: range) -> None:
        for batch in batches:
            optimizer.step(problem.closure(optimizer, batch))
            schedule.step()

    problem, optimizer, schedule = setup()
    train(range(4))
    buffer = io.BytesIO()
    saved = {"net": problem.net.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    torch.save(saved, buffer)
    train(range(4, 8))
    whole, last = problem.parameters(), snapshot(optimizer)

    problem, optimizer, schedule = setup()
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=True)
    problem.net.load_state_dict(loaded["net"])
    optimizer.load_state_dict(loaded["optimizer"])
    schedule.load_state_dict(loaded["schedule"])
    train(range(4, 8))
    assert_bitwise_equal(problem.parameters(), whole)
    assert_same_state(snapshot(optimizer), last)


@every_case
def test_copies_and_pickles_go_on_alike(method: Method, options: Options) -> None:
    problem = make_problem()
    optimizer = method.make(problem.net.parameters(), **options)
    problem.train(optimizer, range(2))
    restored: tuple[Problem, AbstractRecordedOptimizer] = pickle.loads(pickle.dumps((problem, optimizer)))
    copied: tuple[Problem, AbstractRecordedOptimizer] = copy.deepcopy((problem, optimizer))
    problem.train(optimizer, range(2, 4))
    for other, other_optimizer in (restored, copied):
        other.train(other_optimizer, range(2, 4))
        assert_bitwise_equal(other.parameters(), problem.parameters())


@every_method
def test_a_state_dict_of_an_earlier_version_gets_the_defaults(method: Method) -> None:
    problem = make_problem()
    optimizer = method.make(problem.net.parameters())
    problem.train(optimizer, range(1))
    old = snapshot(optimizer)
    for group in old["param_groups"]:
        for name in ("max_relative_step", "decoupled_weight_decay", "effective_lr"):
            group.pop(name, None)
    optimizer.load_state_dict(old)
    problem.train(optimizer, range(1, 2))
    assert optimizer.last_step is not None and optimizer.last_step.step == 2


@every_method
def test_the_state_of_another_optimizer_is_refused(method: Method) -> None:
    problem = make_problem()
    other = torch.optim.AdamW(problem.net.parameters())
    optimizer = method.make(problem.net.parameters())
    level = optimizer.param_groups[0]["lr"]
    with pytest.raises(CurvestepError, match=r"state_dict of its own kind.*no 'steps'"):
        optimizer.load_state_dict(other.state_dict())
    assert optimizer.param_groups[0]["lr"] == level


# ------------------------------------------------------------------------------------------------------ invariances


@every_case
def test_splitting_the_parameters_into_groups_changes_nothing(method: Method, options: Options) -> None:
    together, apart = make_problem(), make_problem()
    whole = method.make(together.net.parameters(), **options)
    layers = [{"params": list(layer.parameters())} for layer in apart.layers]
    split = method.make(layers, **options)
    together.train(whole, range(10))
    apart.train(split, range(10))
    # The penalty is summed group by group; ten steps at ℓ ≤ 1 let the last bit of that grow to 1e-13.
    assert_close(apart.parameters(), together.parameters(), 1e-11)


@pytest.mark.parametrize(
    "method", [m for m in METHODS.values() if m.scale_free], ids=[name for name, m in METHODS.items() if m.scale_free]
)
@pytest.mark.parametrize("factor", [0.125, 1024.0])
def test_multiplying_the_loss_changes_no_step(method: Method, factor: float) -> None:
    """Gradient and curvature grow alike, and the directions either grow with the gradient or do not depend on it."""
    plain, scaled = make_problem(), make_problem()
    first = method.make(plain.net.parameters(), **method.eps)
    second = method.make(scaled.net.parameters(), **method.eps)
    for batch in range(10):
        first.step(plain.closure(first, batch))
        second.zero_grad()
        with second.record():
            (factor * scaled.loss(batch)).backward()
        second.step()
    # A power of two multiplies without rounding, so what is left is the order in which the engine multiplies.
    assert_close(scaled.parameters(), plain.parameters(), 1e-10)


@every_case
def test_schedulers_of_torch_attach(method: Method, options: Options) -> None:
    problem = make_problem()
    optimizer = method.at_level(problem.net.parameters(), options, 1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    found = []
    for batch in range(4):
        problem.train(optimizer, range(batch, batch + 1))
        assert optimizer.last_step is not None
        found.append(optimizer.last_step.ell)
        scheduler.step()
    assert [level / found[0] for level in found] == pytest.approx([1.0, 0.5 + 0.25 * 2**0.5, 0.5, 0.5 - 0.25 * 2**0.5])


# -------------------------------------------------------------------------------------------- nothing to step on


@cases_where(lambda method, options: not method.is_joint(options))
def test_frozen_and_unused_parameters_are_skipped(method: Method, options: Options) -> None:
    problem, smaller = make_problem(), make_problem()
    unused = torch.ones(3, dtype=torch.float64, requires_grad=True)
    smaller.layers[0].bias.requires_grad_(False)
    problem.layers[0].bias.requires_grad_(False)
    with_all = method.make([*problem.net.parameters(), unused], **options)
    without = method.make([p for p in smaller.net.parameters() if p.requires_grad], **options)
    problem.train(with_all, range(5))
    smaller.train(without, range(5))
    assert_bitwise_equal(problem.parameters(), smaller.parameters())
    assert torch.equal(unused, torch.ones(3, dtype=torch.float64)) and unused not in with_all.state


@every_case
def test_a_parameter_frozen_during_training_stays_although_its_gradient_remains(
    method: Method, options: Options
) -> None:
    problem = make_problem()
    optimizer = method.make(problem.net.parameters(), **options)
    problem.train(optimizer, range(2))
    optimizer.zero_grad()
    problem.layers[0].bias.grad = torch.ones_like(problem.layers[0].bias)
    problem.layers[0].bias.requires_grad_(False)
    kept = problem.layers[0].bias.detach().clone()
    with optimizer.record():
        problem.loss(2).backward()
    optimizer.step()
    assert outcome_of(optimizer).moved
    assert problem.layers[0].bias.grad is not None
    assert torch.equal(problem.layers[0].bias, kept)


@cases_where(lambda method, options: method.still)
def test_a_gradient_of_zero_changes_nothing(method: Method, options: Options) -> None:
    problem = make_problem()
    optimizer = method.make(problem.net.parameters(), **method.without_decay(options))
    problem.train(optimizer, range(2))
    state, before = snapshot(optimizer), problem.parameters()
    optimizer.zero_grad()
    with optimizer.record():
        (0.0 * problem.loss(2)).backward()
    optimizer.step()
    assert outcome_of(optimizer) is Outcome.ZERO_GRADIENT
    assert optimizer.param_groups[0]["effective_lr"] == 0.0
    assert_bitwise_equal(problem.parameters(), before)
    assert_same_state(snapshot(optimizer), state)


@every_case
@pytest.mark.parametrize("factor", [float("nan"), float("inf")], ids=["nan", "inf"])
def test_a_loss_that_is_not_finite_is_skipped(method: Method, options: Options, factor: float) -> None:
    problem = make_problem()
    optimizer = method.make(problem.net.parameters(), **options)
    problem.train(optimizer, range(2))
    state, before = snapshot(optimizer), problem.parameters()
    optimizer.zero_grad()
    with optimizer.record() as tape:
        unrecorded = tape.released  # where the step needs nothing of it; the gradient is then all that shows the loss
        (factor * problem.loss(2)).backward()
    optimizer.step()
    record = optimizer.last_step
    refusal = Outcome.NON_FINITE_GRADIENT if unrecorded else Outcome.NON_FINITE_LOSS
    assert record is not None and record.outcome is refusal
    assert (record.step_size, record.step) == (0.0, 2)
    assert_bitwise_equal(problem.parameters(), before)
    assert_same_state(snapshot(optimizer), state)
    problem.train(optimizer, range(2, 3))  # and the next good batch goes on
    assert outcome_of(optimizer).moved


@every_case
def test_a_gradient_that_is_not_finite_is_skipped(method: Method, options: Options) -> None:
    problem = make_problem()
    optimizer = method.make(problem.net.parameters(), **options)
    problem.train(optimizer, range(2))
    state, before = snapshot(optimizer), problem.parameters()
    with optimizer.record():
        problem.loss(2).backward()
    problem.layers[1].bias.grad[0] = float("inf")  # pyright: ignore[reportOptionalSubscript]
    optimizer.step()
    assert outcome_of(optimizer) is Outcome.NON_FINITE_GRADIENT
    assert_bitwise_equal(problem.parameters(), before)
    assert_same_state(snapshot(optimizer), state)


@every_case
def test_a_skipped_first_step_leaves_no_state(method: Method, options: Options) -> None:
    problem = make_problem()
    optimizer = method.make(problem.net.parameters(), **options)
    with optimizer.record():
        (float("nan") * problem.loss(0)).backward()
    optimizer.step()
    assert not outcome_of(optimizer).moved
    assert not optimizer.state and optimizer.param_groups[0]["steps"] == 0


@cases_where(lambda method, options: method.measures_at_once(options))
def test_a_curvature_that_is_not_finite_is_skipped(method: Method, options: Options) -> None:
    # At 0 the function x + x^1.5 has value 0, slope 1 and an infinite second derivative.
    theta = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    sample = torch.ones(2, 1, dtype=torch.float64)
    optimizer = method.make([theta], **options)
    state = snapshot(optimizer)
    with optimizer.record():
        at = (sample * theta).sum(dim=1)
        (at + at**1.5).mean().backward()
    optimizer.step()
    assert outcome_of(optimizer) is Outcome.NON_FINITE_CURVATURE
    assert theta.item() == 0.0
    assert_same_state(snapshot(optimizer), state)


@every_case
def test_level_zero_moves_nothing_but_lets_the_averages_see_the_gradient(method: Method, options: Options) -> None:
    problem = make_problem()
    optimizer = method.at_level(problem.net.parameters(), options, 0.0)
    before = problem.parameters()
    problem.train(optimizer, range(1))
    assert outcome_of(optimizer) is Outcome.ZERO_LR
    assert_bitwise_equal(problem.parameters(), before)
    assert all(state.get("step", 1) == 1 for state in optimizer.state.values())


# ----------------------------------------------------------------------------------------------- 16-bit parameters


@every_case
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_16_bit_parameters_train_with_state_and_sums_in_float32(
    method: Method, options: Options, dtype: torch.dtype
) -> None:
    problem = make_problem(dtype)
    optimizer = method.make(problem.net.parameters(), **{**options, **method.learns})
    problem.train(optimizer, range(20 * method.patience))
    with torch.no_grad():
        start, end = (sum(p.loss(batch).item() for batch in range(5)) for p in (make_problem(dtype), problem))
    assert end < 0.9 * start
    assert {parameter.dtype for parameter in problem.net.parameters()} == {dtype}
    kept = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    assert not method.wide or {value.dtype for value in kept} <= {torch.float32}
