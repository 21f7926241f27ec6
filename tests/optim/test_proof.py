"""The self-check: a recording of another loss than the gradient's is refused; clipping leaves the slope the loss's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

import curvestep
from curvestep._errors import RecordingError
from curvestep.engine import Tape
from curvestep.optim import AbstractComposedOptimizer, _measure
from curvestep.optim._proof import require_same_slope
from tests.optim.problem import Problem, assert_close, make_problem

Make = Callable[[Any], AbstractComposedOptimizer]
MAKES: dict[str, Make] = {
    "RescaledSGD": curvestep.RescaledSGD,
    "RescaledAdam": lambda p: curvestep.RescaledAdam(p, lr=0.5),
    "RescaledAdam with L2": lambda p: curvestep.RescaledAdam(p, lr=0.5, weight_decay=0.01),
    "Auto": curvestep.Auto,
    "quarter": lambda p: curvestep.RescaledAdam(p, lr=0.5, curvature_samples=0.25),
}
every_make = pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)


def recorded(problem: Problem, optimizer: AbstractComposedOptimizer, factor: float = 1.0) -> None:
    optimizer.zero_grad()
    with optimizer.record():
        (factor * problem.loss(0)).backward()


@every_make
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_a_right_recording_passes_in_every_dtype(make: Make, dtype: torch.dtype) -> None:
    problem = make_problem(dtype)
    problem.train(make(problem.net.parameters()), range(8))


#: Methods that read the loss or replay it, and no slope of the tape.
UNPROVEN: dict[str, Callable[[Any], Any]] = {"LQA": curvestep.LQA, "ALIG": curvestep.ALIG}


@pytest.mark.parametrize("form", ["record", "closure"])
@pytest.mark.parametrize("make", [*MAKES.values(), *UNPROVEN.values()], ids=[*MAKES, *UNPROVEN])
def test_a_micro_batch_that_was_not_recorded_is_refused(make: Callable[[Any], Any], form: str) -> None:
    problem = make_problem()
    optimizer, before = make(problem.net.parameters()), problem.parameters()
    problem.loss(1).backward()

    def closure() -> torch.Tensor:
        loss = problem.loss(0)
        loss.backward()
        return loss

    with pytest.raises(RecordingError, match=r"a gradient before the first recorded .* more than the recorded loss"):
        if form == "record":
            with optimizer.record():
                problem.loss(0).backward()
            optimizer.step()
        else:
            optimizer.step(closure)
    assert_close(problem.parameters(), before, 0.0)
    problem.net.zero_grad(set_to_none=False)
    optimizer.step(closure)  # zeros are no gradient
    assert optimizer.last_step.outcome.moved


@pytest.mark.parametrize("name", [*MAKES, *UNPROVEN])
def test_clipping_inside_the_recording_or_a_closure_is_clipping_outside(name: str) -> None:
    steps = []
    for form in ("outside", "inside", "closure"):
        problem = make_problem()
        optimizer: Any = {**MAKES, **UNPROVEN}[name](problem.net.parameters())
        clip = partial(nn.utils.clip_grad_norm_, [*problem.net.parameters()], 0.01)

        def closure() -> torch.Tensor:
            optimizer.zero_grad()  # noqa: B023
            loss = problem.loss(0)  # noqa: B023
            loss.backward()
            clip()  # noqa: B023
            return loss

        for _ in range(3):
            if form == "closure":
                optimizer.step(closure)
                continue
            optimizer.zero_grad()
            with optimizer.record():
                problem.loss(0).backward()
                if form == "inside":
                    clip()
            if form == "outside":
                clip()
            optimizer.step()
        steps.append(problem.parameters())
    assert_close(steps[1], steps[0], 0.0)
    assert_close(steps[2], steps[0], 0.0)


@pytest.mark.filterwarnings("ignore:The recording shows no axis", "ignore:The curvature of a part of the batch")
@every_make
def test_a_recording_of_another_forward_is_refused(make: Make) -> None:
    problem, other = make_problem(), make_problem(seed=8)
    optimizer = make(problem.net.parameters())
    with optimizer.record():
        other.loss(0).backward()
    for parameter, stranger in zip(problem.net.parameters(), other.net.parameters(), strict=True):
        parameter.grad = stranger.grad
    with pytest.raises((RecordingError, curvestep.DirectionError)):
        optimizer.step()


@every_make
def test_a_hook_that_changes_a_gradient_is_refused(make: Make) -> None:
    problem = make_problem()
    optimizer = make(problem.net.parameters())
    problem.layers[0].weight.register_hook(lambda gradient: 0.1 * gradient)
    recorded(problem, optimizer)
    with pytest.raises(RecordingError, match=r"a hook on a tensor|more than the recorded"):
        optimizer.step()


@every_make
def test_a_factor_that_is_taken_out_in_backward_is_named(make: Make) -> None:
    problem = make_problem()
    optimizer = make(problem.net.parameters())
    for parameter in problem.net.parameters():
        parameter.register_hook(lambda gradient: gradient / 4096)
    recorded(problem, optimizer, 4096.0)
    with pytest.raises(RecordingError, match=r"Their ratio is 2\^-12: .*GradScaler"):
        optimizer.step()


@pytest.mark.parametrize("name", ["RescaledSGD", "RescaledAdam", "quarter"])
def test_a_factor_that_is_taken_out_by_hand_changes_no_step(name: str) -> None:
    steps = []
    for factor in (1.0, 4096.0):
        problem = make_problem()
        optimizer = MAKES[name](problem.net.parameters())
        recorded(problem, optimizer, factor)
        for parameter in problem.net.parameters():
            assert parameter.grad is not None
            parameter.grad.div_(factor)
        optimizer.step()
        steps.append(problem.parameters())
    assert_close(steps[1], steps[0], 1e-12)


@pytest.mark.parametrize("name", [name for name in MAKES if "L2" not in name])  # λ θ is not clipped
@pytest.mark.parametrize("limit", [0.5, 1e-3])
def test_the_slope_is_that_of_the_loss_whatever_is_clipped(name: str, limit: float) -> None:
    """The norm of the gradient is cut along the way; slope per unit of the direction stays ⟨∇J, d⟩ / ‖d‖."""
    make = MAKES[name]
    problem, other = make_problem(), make_problem()
    optimizer, plain = make(problem.net.parameters()), make(other.net.parameters())
    recorded(problem, optimizer)
    norm = nn.utils.clip_grad_norm_(problem.net.parameters(), limit)
    assert norm > limit
    clipped = [p.grad.clone() for p in problem.net.parameters() if p.grad is not None]
    optimizer.step()
    recorded(other, plain)
    plain.step()
    assert optimizer.last_step is not None and optimizer.last_step.slope is not None
    assert plain.last_step is not None and plain.last_step.slope is not None
    assert plain.last_step.direction_norm is not None and optimizer.last_step.direction_norm is not None
    unit = plain.last_step.slope / plain.last_step.direction_norm
    # Adam's ε shows beside a gradient that was clipped to a thousandth.
    assert optimizer.last_step.slope / optimizer.last_step.direction_norm == pytest.approx(unit, rel=1e-3)
    assert_close([p.grad for p in problem.net.parameters() if p.grad is not None], clipped, 0.0)


def test_clipping_by_value_keeps_the_true_slope() -> None:
    problem = make_problem()
    optimizer = curvestep.RescaledSGD(problem.net.parameters())
    recorded(problem, optimizer)
    gradients = [p.grad.clone() for p in problem.net.parameters() if p.grad is not None]
    nn.utils.clip_grad_value_(problem.net.parameters(), 0.01)
    clipped = [p.grad.clone() for p in problem.net.parameters() if p.grad is not None]
    optimizer.step()
    slope = sum(float((a * b).sum()) for a, b in zip(gradients, clipped, strict=True))
    assert optimizer.last_step is not None
    assert optimizer.last_step.slope == pytest.approx(slope, rel=1e-12)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}, {"momentum": 0.9, "adjusted": True}], ids=str)
def test_clipping_shortens_the_step_of_alig(options: dict[str, Any]) -> None:
    lengths = []
    for limit in (1e9, 0.1, 0.01):
        problem = make_problem()
        optimizer = curvestep.ALIG(problem.net.parameters(), cap=None, **options)
        before = problem.parameters()
        with optimizer.record():
            problem.loss(0).backward()
        nn.utils.clip_grad_norm_(problem.net.parameters(), limit)
        optimizer.step()
        moved = torch.cat([(a - b).reshape(-1) for a, b in zip(problem.parameters(), before, strict=True)])
        lengths.append(float(moved.norm()))
    assert lengths == sorted(lengths, reverse=True) and lengths[2] < 0.2 * lengths[1]


def test_a_part_of_the_batch_looks_at_all_of_it_at_growing_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measurements 1, 2, 4 and 8 of ten take the slope of the whole batch beside the curvature of a part."""
    problem = make_problem()
    optimizer = curvestep.RescaledSGD(problem.net.parameters(), curvature_samples=0.5)
    calls: list[Any] = []
    measure = Tape.curvature

    def spy(self: Tape, *args: Any, **kwargs: Any) -> Any:
        calls.append(kwargs.get("samples"))
        return measure(self, *args, **kwargs)

    monkeypatch.setattr(Tape, "curvature", spy)
    problem.train(optimizer, range(10))
    assert [at for at, found in enumerate(_by_step(calls), start=1) if found == 2] == [1, 2, 4, 8]


def _by_step(calls: list[Any]) -> list[int]:
    """How many passes each step took: one over a part begins a step."""
    steps: list[int] = []
    for samples in calls:
        if samples is not None:
            steps.append(0)
        steps[-1] += 1
    return steps


@pytest.mark.parametrize("name", ["RescaledSGD", "RescaledAdam", "quarter"])
def test_a_network_that_fits_its_data_is_no_suspect(name: str) -> None:
    """In float32 the gradient is then the rounding of numbers that cancel, and the two slopes differ by their share."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4))
    inputs, targets = torch.randn(32, 16), torch.randint(4, (32,))
    optimizer = MAKES[name](net.parameters())
    for scale in (1.0, 30.0, 300.0):  # a classifier that is ever surer of itself
        for step in range(60):
            if step == 30:
                with torch.no_grad():
                    list(net.parameters())[2].mul_(scale)
            optimizer.zero_grad()
            with optimizer.record():
                nn.functional.cross_entropy(net(inputs), targets).backward()
            optimizer.step()


def test_what_was_found_to_be_rounding_is_remembered_and_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient of nothing but rounding is computed again now and then, not in most steps."""
    looks: list[Any] = []
    look = _measure._is_rounding

    def noted(*given: Any) -> bool:
        looks.append(given)
        return look(*given)

    monkeypatch.setattr(_measure, "_is_rounding", noted)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    inputs = torch.randn(128, 64)
    targets = inputs.argmax(1) % 10
    optimizer = curvestep.RescaledSGD(net.parameters())
    for _ in range(250):  # the loss is 1e-9 by then, and the slopes differ by their own size
        optimizer.zero_grad()
        with optimizer.record():
            nn.functional.cross_entropy(net(inputs), targets).backward()
        optimizer.step()
    assert 1 <= len(looks) <= 30  # 7; each step that is far apart, without a memory: 145
    known = optimizer.state_dict()["param_groups"][0]["slope_rounding"]
    assert known > 0.0
    again = curvestep.RescaledSGD(net.parameters())
    again.load_state_dict(optimizer.state_dict())
    assert again.param_groups[0]["slope_rounding"] == known


def test_rounding_that_is_known_has_a_size_and_fades() -> None:
    looked: list[float] = []

    def asked(recorded: float, gradient: float, known: float, found: bool = True) -> float:
        """The slopes 1e-3 and `recorded`, a gradient of this norm, a direction of norm 2."""
        numbers = {"gradient_norm_sq": gradient**2, "direction_norm_sq": 4.0}

        def look() -> bool:
            looked.append(recorded)
            return found

        return require_same_slope(1e-3, recorded, numbers, lambda: 2.0**-23, look, known)

    known = asked(3e-3, 1e-3, 0.0)
    assert (known, len(looked)) == (pytest.approx(1e-3), 1)  # 2e-3 apart along a direction of norm 2
    later = asked(4e-3, 1e-3, known)
    assert (later, len(looked)) == (pytest.approx(0.98e-3), 1)  # not twice as far: it falls, and nobody looks
    for _ in range(60):
        later = asked(1e-3, 1e-3, later)
    assert later == pytest.approx(0.98**61 * 1e-3)
    with pytest.raises(RecordingError, match="has the slope 0.004"):
        asked(4e-3, 1e-3, later, found=False)  # it has faded
    with pytest.raises(RecordingError, match="has the slope 2.001"):
        asked(2.001, 1.0, known, found=False)  # the gradient has grown: what was rounding is nothing beside it
