"""Windows: the reading against closed forms and double backward; what a window's end leaves alone."""

from __future__ import annotations

import copy
import io
import math
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter
from torch.nn import functional

import curvestep
from curvestep import CurvestepError, RecordingError
from curvestep._records import Outcome
from curvestep._window import WindowReading
from curvestep.bench.methods.ceiling_adam import CeilingAdam
from curvestep.engine import Tape
from tests.optim.problem import assert_bitwise_equal, assert_close, make_problem
from tests.optim.windowed import WindowedAdam, short_auto

#: How far numbers may be from another way to the same ones in float64: sums of some tens of rounded terms.
REL, ABS = 1e-10, 1e-14

SHORT: dict[str, Any] = {"window_growth": 1.0, "window_offset": 3}


def state_of(optimizer: Any, name: str) -> list[Tensor]:
    return [optimizer.state[p][name].clone() for p in optimizer._parameters()]


def until_window(optimizer: Any, step: Any) -> None:
    """Take steps until the next call is one that measures."""
    while not optimizer._ends_window():
        step()


def read(optimizer: Any) -> WindowReading:
    assert optimizer.last_step is not None and optimizer.last_step.outcome is Outcome.WINDOW_ENDED
    assert optimizer.last_window is not None
    return optimizer.last_window


# -------------------------------------------------------------------------------------------------- the numbers


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("pieces", [1, 2])
def test_the_reading_of_a_quadratic_is_its_closed_form(decay: float, pieces: int) -> None:
    """J_s = ½ a_s ‖θ − x_s‖², with curvatures a_s of both signs; L2 term inside; one recording or two micro-batches."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    a = torch.tensor([1.0, 2.0, -0.5, 3.0, 0.5, 1.5, -0.2, 1.0], dtype=torch.float64)
    theta = torch.full((3,), 2.0, dtype=torch.float64, requires_grad=True)
    optimizer = WindowedAdam([theta], weight_decay=decay)

    def each(at: Tensor, rows: slice = slice(None)) -> Tensor:
        return 0.5 * a[rows] * ((at - x[rows]) ** 2).sum(dim=1)

    def step() -> None:
        for rows in (slice(None),) if pieces == 1 else (slice(0, 4), slice(4, 8)):
            with optimizer.record():
                (each(theta, rows).mean() / pieces).backward()
        optimizer.step()
        optimizer.zero_grad()

    until_window(optimizer, step)
    (mean,), (start,), z = state_of(optimizer, "average"), state_of(optimizer, "window_start"), theta.detach().clone()
    m, v = optimizer.state[theta]["exp_avg"].clone(), optimizer.state[theta]["exp_avg_sq"].clone()
    step()
    found = read(optimizer)

    def loss(at: Tensor) -> float:
        return float(each(at).mean() + 0.5 * decay * at.dot(at))

    d, e = mean - start, z - mean
    slopes = (a[:, None] * (mean - x)) @ d + decay * mean.dot(d)
    kappas = (a + decay) * d.dot(d)
    assert (found.step, found.start) == (5, 0)
    assert (found.loss, found.loss_before, found.loss_at_iterate) == pytest.approx(
        (loss(mean), loss(start), loss(z)), rel=REL, abs=ABS
    )
    assert found.slope == pytest.approx(float(slopes.mean()), rel=REL, abs=ABS)
    assert found.curvature == pytest.approx(float(kappas.mean()), rel=REL, abs=ABS)
    assert found.absolute_curvature == pytest.approx(float(kappas.abs().mean()), rel=REL, abs=ABS)
    assert found.iterate_slope == pytest.approx(
        float(((a[:, None] * (mean - x)) @ e).mean() + decay * mean.dot(e)), rel=REL, abs=ABS
    )
    assert found.iterate_curvature == pytest.approx(float((a.mean() + decay) * e.dot(e)), rel=REL, abs=ABS)
    assert (found.displacement_norm_sq, found.iterate_norm_sq) == pytest.approx(
        (float(d.dot(d)), float(e.dot(e))), rel=REL, abs=ABS
    )
    assert found.further == pytest.approx(-float(slopes.mean()) / abs(float(kappas.mean())), rel=1e-12)
    assert found.noise == pytest.approx(0.5 * float((a.mean() + decay) * e.dot(e)), rel=1e-12)
    assert found.gap == pytest.approx(found.noise, rel=1e-9)
    assert found.progress == pytest.approx((loss(start) - loss(mean)) / math.log(5.0), rel=1e-12)
    assert found.slope_error == pytest.approx(float(slopes.std()) / math.sqrt(8.0), rel=1e-10)
    spread = (d**2 * (v / (1.0 - 0.99**5) - m**2).clamp_min(0.0)).sum().sqrt()
    assert found.slope_spread == pytest.approx(float(spread), rel=1e-12)


def test_the_reading_of_a_net_is_that_of_double_backward() -> None:
    problem = make_problem()
    optimizer = WindowedAdam(problem.net.parameters(), **SHORT)
    mean: list[Tensor] = []
    start, z = mean, mean
    for _ in range(2):  # the second window begins at an average, not at the first parameters
        until_window(optimizer, lambda: problem.train(optimizer, range(1)))
        mean, start = state_of(optimizer, "average"), state_of(optimizer, "window_start")
        z = problem.parameters()
        problem.train(optimizer, range(3, 4))
    found = read(optimizer)
    assert found.start == 3 and found.step == 6

    names = [name for name, _ in problem.net.named_parameters()]

    def each(at: list[Tensor]) -> Tensor:
        out = torch.func.functional_call(problem.net, dict(zip(names, at, strict=True)), (problem.inputs[3],))
        return functional.cross_entropy(out, problem.targets[3], reduction="none")

    def bilinear(direction: list[Tensor], sample: int | None) -> tuple[float, float]:
        at = [p.clone().requires_grad_() for p in mean]
        losses = each(at)
        loss = losses.mean() if sample is None else losses[sample]
        gradient = torch.autograd.grad(loss, at, create_graph=True)
        slope = sum((g * d).sum() for g, d in zip(gradient, direction, strict=True))
        assert isinstance(slope, Tensor)
        again = torch.autograd.grad(slope, at)
        return float(slope.detach()), float(sum((g * d).sum() for g, d in zip(again, direction, strict=True)))

    d = [a - b for a, b in zip(mean, start, strict=True)]
    e = [a - b for a, b in zip(z, mean, strict=True)]
    slope, curvature = bilinear(d, None)
    out_slope, out_curvature = bilinear(e, None)
    rows = [bilinear(d, sample) for sample in range(8)]
    assert (found.slope, found.curvature) == pytest.approx((slope, curvature), rel=REL, abs=ABS)
    assert (found.iterate_slope, found.iterate_curvature) == pytest.approx((out_slope, out_curvature), rel=REL, abs=ABS)
    assert found.absolute_curvature == pytest.approx(sum(abs(q) for _, q in rows) / 8, rel=REL, abs=ABS)
    slopes = torch.tensor([s for s, _ in rows], dtype=torch.float64)
    assert found.slope_error == pytest.approx(float(slopes.std()) / math.sqrt(8.0), rel=1e-9)
    assert (found.loss, found.loss_before, found.loss_at_iterate) == pytest.approx(
        tuple(float(each(at).mean()) for at in (mean, start, z)), rel=REL, abs=ABS
    )


# ------------------------------------------------------------------------------------------- what is left alone


def test_a_windows_end_measures_and_steps_with_the_gradient_there_and_other_steps_measure_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = {"curvature": 0, "loss_along": 0}
    for name in counts:
        original = getattr(Tape, name)

        def spied(tape: Tape, *args: Any, _name: str = name, _original: Any = original, **options: Any) -> Any:
            counts[_name] += 1
            return _original(tape, *args, **options)

        monkeypatch.setattr(Tape, name, spied)
    problem = make_problem()
    optimizer = WindowedAdam(problem.net.parameters())
    recorded, ended = 0, 0
    for batch in range(28):
        before, is_end = problem.parameters(), optimizer._ends_window()
        mean = state_of(optimizer, "average") if batch else []
        former = dict(counts)
        pointers = [p.data_ptr() for p in problem.net.parameters()]
        with optimizer.record() as tape:
            recorded += not tape.released
            problem.loss(batch).backward()
        assert_bitwise_equal(problem.parameters(), before)  # z is back before the step
        optimizer.step()
        optimizer.zero_grad()
        assert [p.data_ptr() for p in problem.net.parameters()] == pointers
        if is_end:
            ended += 1
            assert not any(torch.equal(a, b) for a, b in zip(problem.parameters(), before, strict=True))
            # A pass along D, one along E, two forwards.
            assert (counts["curvature"] - former["curvature"], counts["loss_along"] - former["loss_along"]) == (2, 2)
            assert optimizer.last_step is not None and optimizer.last_step.step == batch + 1
            assert optimizer.param_groups[0]["effective_lr"] == optimizer.last_step.step_size > 0.0
            assert_bitwise_equal(state_of(optimizer, "window_start"), mean)
        elif batch > 0:
            assert counts == former
    assert ended == 4 and recorded == ended + 1  # the first step's bound is measured too
    assert optimizer.outcomes[Outcome.WINDOW_ENDED] == 4


def test_the_step_of_a_windows_end_has_the_gradient_at_the_average() -> None:
    """Adam's first average after the window's end is 0.9 m + 0.1 ∇J(x̄), and the step is the new scale along it."""
    problem = make_problem()
    optimizer = WindowedAdam(problem.net.parameters(), **SHORT)
    until_window(optimizer, lambda: problem.train(optimizer, range(1)))
    z, former, mean = problem.parameters(), state_of(optimizer, "exp_avg"), state_of(optimizer, "average")
    with optimizer.averaged():
        gradients = torch.autograd.grad(problem.loss(2), list(problem.net.parameters()))
    problem.train(optimizer, range(2, 3))
    means = state_of(optimizer, "exp_avg")
    assert_close(means, [0.9 * m + 0.1 * g for m, g in zip(former, gradients, strict=True)], 1e-14)
    assert optimizer.last_step is not None
    spread = [v / (1.0 - 0.99**4) for v in state_of(optimizer, "exp_avg_sq")]
    size = optimizer.last_step.step_size / (1.0 - 0.9**4)
    stepped = [a - size * m / (v.sqrt() + 1e-8) for a, m, v in zip(z, means, spread, strict=True)]
    assert_close(problem.parameters(), stepped, 1e-12)
    expected = [x + 9.0 / 12.0 * (a - x) for x, a in zip(mean, stepped, strict=True)]
    assert_close(state_of(optimizer, "average"), expected, 1e-12)


class Counting(nn.Module):
    """A module that writes a buffer of its own in the forward."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.seen.mul_(0.9).add_(x.detach().mean(dim=0))
        return x


def test_batch_norm_and_other_buffers_are_left_alone_by_the_measured_batch() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Tanh(), Counting(), nn.Dropout(0.5), nn.Linear(6, 3))
    optimizer = WindowedAdam(net.parameters(), **SHORT)
    inputs, targets = torch.randn(16, 5), torch.randint(3, (16,))

    def step() -> None:
        with optimizer.record():
            functional.cross_entropy(net(inputs), targets).backward()
        optimizer.step()
        optimizer.zero_grad()

    until_window(optimizer, step)
    before = copy.deepcopy(net.state_dict())
    step()
    found = read(optimizer)
    assert found.is_finite and found.slope_error and found.slope_spread
    assert all(
        torch.equal(value, before[name])
        for name, value in net.state_dict().items()
        if "weight" not in name and "bias" not in name
    )
    step()
    assert int(net[1].num_batches_tracked) == int(before["1.num_batches_tracked"]) + 1  # pyright: ignore[reportArgumentType]
    for name in ("1.running_mean", "3.seen"):
        assert not torch.equal(net.state_dict()[name], before[name])


def test_all_numbers_of_a_reading_have_the_same_dropout_mask() -> None:
    """With one window of length 1 the losses at x̄' + D and at z = x̄ + E must be those of the recorded mask."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 32), nn.Dropout(0.5), nn.Linear(32, 1)).double()
    optimizer = WindowedAdam(net.parameters(), window_growth=1.0, window_offset=1)
    inputs = torch.randn(8, 4, dtype=torch.float64)

    def step() -> None:
        with optimizer.record():
            net(inputs).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    until_window(optimizer, step)
    generator = torch.get_rng_state()
    mean, start = state_of(optimizer, "average"), state_of(optimizer, "window_start")
    step()
    found = read(optimizer)
    torch.set_rng_state(generator)
    mask = nn.functional.dropout(torch.ones(8, 32, dtype=torch.float64), 0.5)

    def loss(at: list[Tensor]) -> float:
        w, b, u, c = at
        return float((((inputs @ w.T + b) * mask) @ u.T + c).square().mean())

    assert (found.loss, found.loss_before) == pytest.approx((loss(mean), loss(start)), rel=1e-12)
    assert found.loss_at_iterate == found.loss  # after one step the average is the iterate


# ------------------------------------------------------------------------------------------------ life of a run


@pytest.mark.parametrize("saved", [1, 3, 4, 5, 7, 8])
def test_a_run_resumes_bit_for_bit_inside_a_window_at_its_end_and_after_it(saved: int) -> None:
    """Windows end after the calls 3, 6, 9 and 12: a batch is measured at the next ones."""
    whole, cut = make_problem(torch.float32), make_problem(torch.float32)
    first = WindowedAdam(whole.net.parameters(), **SHORT)
    second = WindowedAdam(cut.net.parameters(), **SHORT)
    whole.train(first, range(13))
    cut.train(second, range(saved))
    buffer = io.BytesIO()
    torch.save({"net": cut.net.state_dict(), "optimizer": second.state_dict()}, buffer)
    buffer.seek(0)
    loaded, resumed = torch.load(buffer, weights_only=True), make_problem(torch.float32)
    third = WindowedAdam(resumed.net.parameters(), **SHORT)
    resumed.net.load_state_dict(loaded["net"])
    third.load_state_dict(loaded["optimizer"])
    resumed.train(third, range(saved, 13))
    assert_bitwise_equal(resumed.parameters(), whole.parameters())
    for name in ("average", "window_start", "exp_avg", "exp_avg_sq"):
        assert_bitwise_equal(state_of(third, name), state_of(first, name))
    assert third.param_groups[0]["rule_state"] == first.param_groups[0]["rule_state"]
    assert third.last_window == first.last_window
    assert first.outcomes[Outcome.WINDOW_ENDED] == 4


def test_the_state_is_four_tensors_a_parameter() -> None:
    problem = make_problem(torch.float32)
    optimizer = curvestep.Auto(problem.net.parameters())
    problem.train(optimizer, range(3))
    tensors = [v for state in optimizer.state.values() for v in state.values() if isinstance(v, Tensor)]
    assert sum(t.numel() * t.element_size() for t in tensors) == 16 * sum(p.numel() for p in problem.net.parameters())


def test_a_batch_that_is_not_finite_is_no_reading() -> None:
    problem = make_problem()
    optimizer = WindowedAdam(problem.net.parameters(), **SHORT)
    until_window(optimizer, lambda: problem.train(optimizer, range(1)))
    before = pickle.dumps((optimizer.state_dict()["state"], optimizer.param_groups[0]["rule_state"]))
    with optimizer.record():
        (float("nan") * problem.loss(0)).backward()
    optimizer.step()
    optimizer.zero_grad()
    assert optimizer.last_step is not None and optimizer.last_step.outcome is Outcome.NON_FINITE_LOSS
    assert pickle.dumps((optimizer.state_dict()["state"], optimizer.param_groups[0]["rule_state"])) == before
    problem.train(optimizer, range(1))
    read(optimizer)


def test_an_exception_in_the_block_puts_the_parameters_back() -> None:
    problem = make_problem()
    optimizer = WindowedAdam(problem.net.parameters(), **SHORT)
    until_window(optimizer, lambda: problem.train(optimizer, range(1)))
    before = problem.parameters()
    with pytest.raises(KeyError), optimizer.record():
        assert not torch.equal(next(problem.net.parameters()), before[0])
        raise KeyError
    assert_bitwise_equal(problem.parameters(), before)
    problem.train(optimizer, range(1))
    read(optimizer)


def test_cleared_gradients_drop_a_measurement() -> None:
    problem = make_problem()
    optimizer = WindowedAdam(problem.net.parameters(), **SHORT)
    until_window(optimizer, lambda: problem.train(optimizer, range(1)))
    with optimizer.record():
        problem.loss(0).backward()
    optimizer.zero_grad()
    with optimizer.record():
        problem.loss(1).backward()
    with optimizer.averaged():
        expected = float(problem.loss(1).detach())
    returned = optimizer.step()
    assert read(optimizer).loss == float(returned) == pytest.approx(expected, rel=1e-14)


def test_what_a_windows_end_cannot_serve_is_refused() -> None:
    problem = make_problem()
    optimizer = WindowedAdam(problem.net.parameters(), **SHORT)
    until_window(optimizer, lambda: problem.train(optimizer, range(1)))
    before = problem.parameters()
    with pytest.raises(RecordingError, match=r"a backward pass inside it was needed, but none ran"), optimizer.record():
        problem.loss(0)
    with pytest.raises(RecordingError, match="nothing was recorded since the last step"):
        optimizer.step()
    other = curvestep.RescaledSGD([torch.ones(1, dtype=torch.float64, requires_grad=True)])
    with (
        other.record(),
        pytest.raises(RecordingError, match=r"a recording that no other optimizer shares"),
        optimizer.record(),
    ):
        pass
    with (
        pytest.raises(RecordingError, match=r"a recording that no other optimizer shares"),
        optimizer.record(),
        other.record(),
    ):
        problem.loss(0).backward()
    assert_bitwise_equal(problem.parameters(), before)


@pytest.mark.parametrize("make", [WindowedAdam, short_auto])
def test_a_loss_that_cannot_be_run_again_elsewhere_is_that_of_its_parabola(make: Any) -> None:
    """Python reads how many activations are positive, and that is another number at x̄' and at z."""
    torch.manual_seed(0)
    weight = torch.randn(6, 5, dtype=torch.float64).requires_grad_()
    inputs = torch.randn(16, 5, dtype=torch.float64)
    optimizer = make([weight], **SHORT)

    def loss(at: Tensor, factor: float | None = None) -> Tensor:
        hidden = inputs @ at.T
        factor = float((hidden > 0.0).double().mean()) if factor is None else factor
        return factor * hidden.square().mean()

    def step() -> None:
        with optimizer.record(batch_size=16):
            loss(weight).backward()
        optimizer.step()
        optimizer.zero_grad()

    until_window(optimizer, step)
    (mean,), (start,) = state_of(optimizer, "average"), state_of(optimizer, "window_start")
    step()
    factor = float((inputs @ mean.T > 0.0).double().mean())
    found = read(optimizer)
    # The loss is a parabola where the factor stays.
    assert (found.loss, found.loss_before) == pytest.approx((float(loss(mean)), float(loss(start, factor))), rel=1e-12)


@pytest.mark.parametrize("pickled", [False, True])
def test_a_checkpoint_that_knows_no_windows_is_refused(pickled: bool) -> None:
    """That of the optimizer that `Auto` was before has the options and three of the tensors."""
    problem = make_problem()
    former = CeilingAdam(problem.net.parameters())
    problem.train(former, range(3))
    optimizer = curvestep.Auto(make_problem().net.parameters())
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(CurvestepError, match=r"Auto needs .* has no 'window_growth': .* begin with a new optimizer"):
        if pickled:
            curvestep.Auto.__setstate__(object.__new__(curvestep.Auto), former.__getstate__())
        else:
            optimizer.load_state_dict(former.state_dict())
    saved = copy.deepcopy(before)
    saved["param_groups"][0]["rule_state"] = {"lazy_count": 3}
    with pytest.raises(CurvestepError, match=r"Auto needs .* has no '\w+': .* begin with a new optimizer"):
        optimizer.load_state_dict(saved)
    assert optimizer.state_dict() == before


def test_closures_without_a_backward() -> None:
    """Lightning records before the step and passes a closure that does nothing, or skips a batch with one."""
    problem = make_problem()
    optimizer = WindowedAdam(problem.net.parameters(), **SHORT)
    problem.train(optimizer, range(3))
    optimizer.zero_grad()
    assert optimizer.step(lambda: None) is None
    assert optimizer.last_step is not None and optimizer.last_step.outcome is Outcome.ZERO_GRADIENT
    with pytest.raises(RecordingError, match=r"a backward pass inside it was needed, but none ran"):
        optimizer.step(lambda: problem.loss(0))  # pyright: ignore[reportArgumentType]
    with optimizer.record():
        problem.loss(0).backward()
    optimizer.step(lambda: None)
    read(optimizer)


def test_an_optimizer_that_learns_a_scale_itself_does_not_take_it() -> None:
    with pytest.raises(ValueError, match="WindowedAdam cannot be wrapped"):
        curvestep.EGStepSize(WindowedAdam([torch.ones(1, requires_grad=True)]))


def test_attached_micro_batches_give_the_reading_of_the_batch() -> None:
    whole, attached = make_problem(), make_problem()
    first = WindowedAdam(whole.net.parameters(), **SHORT)
    second = WindowedAdam(attached.net.parameters(), **SHORT)
    curvestep.attach(attached.net, second)
    for batch in range(7):
        whole.train(first, range(batch, batch + 1))
        inputs, targets = attached.inputs[batch % 5], attached.targets[batch % 5]
        for x, y in zip(inputs.split([2, 6]), targets.split([2, 6]), strict=True):
            (functional.cross_entropy(attached.net(x), y) * len(x) / 8).backward()
        second.step()
        second.zero_grad()
    found, expected = read(second), read(first)
    for name, value in vars(expected).items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-9), name  # sums in another order, over seven calls


def test_a_scaled_loss_gives_the_reading_of_the_plain_one() -> None:
    plain, scaled = make_problem(torch.float32), make_problem(torch.float32)
    first = WindowedAdam(plain.net.parameters(), **SHORT)
    second = WindowedAdam(scaled.net.parameters(), **SHORT)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for batch in range(5):
        plain.train(first, range(batch, batch + 1))
        scaled.train_scaled(second, scaler, range(batch, batch + 1))
    # A power of two, which rounds nothing.
    assert second.last_window is not None and second.last_window == first.last_window
    assert_bitwise_equal(plain.parameters(), scaled.parameters())


def test_attach_gives_the_same_run_without_a_line_in_the_loop() -> None:
    plain, attached = make_problem(), make_problem()
    first = WindowedAdam(plain.net.parameters(), **SHORT)
    second = WindowedAdam(attached.net.parameters(), **SHORT)
    curvestep.attach(attached.net, second)
    for batch in range(9):
        plain.train(first, range(batch, batch + 1))
        before = attached.parameters()
        attached.loss(batch).backward()
        assert_bitwise_equal(attached.parameters(), before)  # the recording has closed with the backward
        second.step()
        second.zero_grad()
    assert first.last_window is not None and first.last_window == second.last_window
    assert_bitwise_equal(plain.parameters(), attached.parameters())


@pytest.mark.parametrize("level", [0.25, 1.0])
def test_the_level_scales_every_step(level: float) -> None:
    half, other = make_problem(), make_problem()
    first = WindowedAdam(half.net.parameters())
    second = WindowedAdam(other.net.parameters(), lr=level)
    half.train(first, range(1))
    other.train(second, range(1))
    assert first.last_step is not None and second.last_step is not None
    assert second.last_step.step_size == pytest.approx(first.last_step.step_size * level / 0.5, rel=1e-12)


def test_a_compiled_model_gives_the_same_run_and_is_compiled_once() -> None:
    torch._dynamo.reset()  # shapes of this forward that other tests compiled would make dimensions dynamic
    plain, compiled = make_problem(), make_problem()
    first = WindowedAdam(plain.net.parameters(), **SHORT)
    second = WindowedAdam(compiled.net.parameters(), **SHORT)
    counter = CompileCounter()
    model = torch.compile(compiled.net, backend=counter)
    for batch in range(9):
        plain.train(first, range(batch, batch + 1))
        with second.record():
            functional.cross_entropy(model(compiled.inputs[batch % 5]), compiled.targets[batch % 5]).backward()
        second.step()
        second.zero_grad()
    assert first.last_window is not None and first.last_window == second.last_window
    assert_bitwise_equal(plain.parameters(), compiled.parameters())
    assert counter.frame_count == 1  # the hooks of a window's end do not outdate it


def test_a_compiled_step_is_the_same_run_with_one_graph() -> None:
    plain, compiled = make_problem(), make_problem()
    first = WindowedAdam(plain.net.parameters(), **SHORT)
    second = WindowedAdam(compiled.net.parameters(), **SHORT)
    step = second.compile(lambda x, y: functional.cross_entropy(compiled.net(x), y), backend="eager")
    for batch in range(9):
        plain.train(first, range(batch, batch + 1))
        step(compiled.inputs[batch % 5], compiled.targets[batch % 5])
    assert step.fallback is None and first.outcomes == second.outcomes
    assert second.outcomes[Outcome.WINDOW_ENDED] == 2
    assert_close(compiled.parameters(), plain.parameters(), 1e-12)  # another order of operations in Adam's direction


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_reading_under_autocast_is_that_of_float32_to_its_rounding(dtype: torch.dtype) -> None:
    plain, mixed = make_problem(torch.float32), make_problem(torch.float32)
    first = WindowedAdam(plain.net.parameters(), **SHORT)
    second = WindowedAdam(mixed.net.parameters(), **SHORT)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0, enabled=dtype is torch.float16)
    plain.train(first, range(3))
    mixed.train(second, range(3))
    assert_bitwise_equal(plain.parameters(), mixed.parameters())
    plain.train(first, range(3, 4))
    with second.record():
        with torch.autocast("cpu", dtype=dtype):
            loss = mixed.loss(3)
        scaler.scale(loss).backward()
    scaler.step(second)
    found, expected = read(second), read(first)
    # Some products of numbers with 8 (bfloat16) or 11 digits, the losses' differences apart.
    close = 0.05 if dtype is torch.bfloat16 else 0.005
    for name in ("loss", "slope", "slope_error", "curvature", "absolute_curvature", "iterate_curvature"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=close), name


def test_a_factor_that_overflows_is_no_reading() -> None:
    problem = make_problem(torch.float32)
    optimizer = WindowedAdam(problem.net.parameters(), **SHORT)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    problem.train(optimizer, range(3))
    before = problem.parameters()
    with optimizer.record():
        (1e6 * scaler.scale(problem.loss(3))).backward()
    scaler.step(optimizer)
    assert optimizer.last_step is not None and optimizer.last_step.outcome.name.startswith("NON_FINITE")
    assert optimizer._ends_window()
    assert_bitwise_equal(problem.parameters(), before)


def test_a_gradient_that_a_hook_changes_beneath_the_tape_is_refused() -> None:
    problem = make_problem()
    optimizer = WindowedAdam(problem.net.parameters(), **SHORT)
    problem.train(optimizer, range(3))
    with pytest.raises(RecordingError, match="data or parameters were written to since"), optimizer.record():
        loss = problem.loss(3)
        problem.inputs[3].numpy()[:] *= 2.0
        loss.backward()
