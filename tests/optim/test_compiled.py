"""The compiled step against the step with a closure: the same losses, parameters, buffers, records and states.

Most tests run the traced graph as it is (backend "eager"): it is what Inductor is given. Two compile it.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

import curvestep
from curvestep import Outcome
from curvestep.optim import AbstractComposedOptimizer
from curvestep.optim.compiled import CompiledStep
from curvestep.optim.compiled.backend import compile_graph
from curvestep.optim.compiled.lifting import Lifting, inputs_first
from curvestep.optim.compiled.step import MOST_GRAPHS

# Float64 sums that the graph may order differently, over twenty steps; measured up to 5e-14.
CLOSE = 1e-12

Make = Callable[[Any], AbstractComposedOptimizer]


@pytest.fixture(autouse=True)
def expected_warnings() -> Iterator[None]:
    """Samples mix in batch normalisation, and both kinds of step say so; what is tested here is said otherwise."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The curvature of")
        yield


class Attention(nn.Module):
    """A small transformer over sequences of vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(5, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, activation="gelu")
        self.outer = nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.outer(self.block(self.inner(inputs)).mean(1))


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def dropping() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.Softplus(), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "dense": (dense, (6,)),
    "dropping": (dropping, (6,)),
    "convolutional": (convolutional, (3, 6, 6)),
    "attention": (Attention, (4, 5)),
}


@dataclass
class Pair:
    """The same net twice, with an optimizer each: one steps by closures, the other compiled."""

    nets: tuple[nn.Module, nn.Module]
    optimizers: tuple[AbstractComposedOptimizer, AbstractComposedOptimizer]
    step: CompiledStep
    shape: tuple[int, ...]

    def batch(self, seed: int, size: int = 8) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        dtype = next(self.nets[0].parameters()).dtype
        inputs = torch.randn(size, *self.shape, generator=generator, dtype=dtype)
        return inputs, torch.randint(0, 3, (size,), generator=generator)

    def loss(self, which: int, inputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(self.nets[which](inputs), targets)

    def by_closure(self, which: int, inputs: Tensor, targets: Tensor) -> Tensor:
        """A step of one of the optimizers as users write it."""
        optimizer = self.optimizers[which]

        def closure() -> Any:
            optimizer.zero_grad()
            loss = self.loss(which, inputs, targets)
            loss.backward()
            return loss

        found: Any = optimizer.step(closure)
        return found.detach()

    def both(self, seed: int, size: int = 8, tolerance: float = CLOSE) -> None:
        """Take one step with each, on the same random numbers, and compare what they say."""
        batch = self.batch(seed, size)
        torch.manual_seed(seed)
        expected = self.by_closure(0, *batch)
        torch.manual_seed(seed)
        found = self.step(*batch)
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
        plain, compiled = (optimizer.last_step for optimizer in self.optimizers)
        assert plain is not None and compiled is not None
        assert (compiled.outcome, compiled.step) == (plain.outcome, plain.step)
        for name in ("loss", "slope", "curvature", "absolute_curvature", "lipschitz", "step_size", "direction_norm"):
            one, other = getattr(compiled, name), getattr(plain, name)
            assert (one is None) == (other is None), name
            assert other is None or one == pytest.approx(other, rel=1e3 * tolerance, abs=tolerance), name

    def compare(self, tolerance: float = CLOSE) -> None:
        """Parameters, buffers and the optimizers' states are the same."""
        plain, compiled = (net.state_dict() for net in self.nets)
        torch.testing.assert_close(compiled, plain, rtol=tolerance, atol=tolerance)
        plain, compiled = (optimizer.state_dict() for optimizer in self.optimizers)
        assert compiled["state"].keys() == plain["state"].keys()
        for index, state in plain["state"].items():
            torch.testing.assert_close(compiled["state"][index], state, rtol=tolerance, atol=tolerance)
        for one, other in zip(compiled["param_groups"], plain["param_groups"], strict=True):
            assert one["steps"] == other["steps"]
            assert one["rule_state"] == pytest.approx(other["rule_state"], rel=1e3 * tolerance)
            assert one["effective_lr"] == pytest.approx(other["effective_lr"], rel=1e3 * tolerance)


def sgd(params: Any) -> AbstractComposedOptimizer:
    return curvestep.RescaledSGD(params, lr=0.5)


def two_groups(params: Any) -> AbstractComposedOptimizer:
    first, *others = params
    groups = [{"params": [first], "lr": 0.25, "weight_decay": 1e-3}, {"params": others}]
    return curvestep.RescaledAdam(groups, lr=0.5, eps=1e-3)


def pair(net: str, make: Make = sgd, backend: Any = "eager", dtype: torch.dtype = torch.float64) -> Pair:
    build, shape = NETS[net]
    torch.manual_seed(0)
    one = build().to(dtype)
    other = copy.deepcopy(one)
    optimizers = make(one.parameters()), make(other.parameters())
    found = Pair((one, other), optimizers, None, shape)  # type: ignore[arg-type]
    found.step = optimizers[1].compile(lambda inputs, targets: found.loss(1, inputs, targets), backend=backend)
    return found


# -- the same steps ---------------------------------------------------------------------------------------------------

# Attention does not depend on the bias of its keys, whose gradient is rounding alone: an eps far above it, because
# Adam's direction would make steps of that rounding.
METHODS: dict[str, Make] = {
    "SGD": sgd,
    "momentum": lambda p: curvestep.RescaledSGD(p, lr=0.5, momentum=0.9, averaging=8.0),
    "decay": lambda p: curvestep.RescaledSGD(p, lr=0.5, weight_decay=1e-2, decoupled_weight_decay=1e-2),
    "Gauss-Newton": lambda p: curvestep.RescaledSGD(p, lr=0.5, curvature_kind="ggn"),
    "quarter": lambda p: curvestep.RescaledSGD(p, lr=0.5, curvature_samples=0.25),
    "RMSprop": lambda p: curvestep.RescaledRMSprop(p, lr=0.5, eps=1e-3),
    "Adam": lambda p: curvestep.RescaledAdam(p, lr=0.5, eps=1e-3, weight_decay=1e-2),
    "groups": two_groups,
}


SLOW_TO_TRACE = {"attention": ("SGD", "Gauss-Newton", "quarter", "Adam")}


@pytest.mark.parametrize(
    ("net", "method"),
    [(net, m) for net in ("dense", "convolutional", "attention") for m in SLOW_TO_TRACE.get(net, METHODS)],
)
def test_twenty_steps_are_those_of_the_closure(net: str, method: str) -> None:
    found = pair(net, METHODS[method])
    for seed in range(20):
        found.both(seed)
    found.compare()
    assert (found.step.compilations, found.step.fallback) == (1, None)


@pytest.mark.parametrize("net", ["dense", "convolutional"])
def test_auto_has_one_graph_since_its_first_step_and_the_ends_of_windows_have_none(net: str) -> None:
    found = pair(net, curvestep.Auto)
    for seed in range(20):
        found.both(seed)
    found.compare()  # the average too: it is part of the state
    with found.optimizers[0].averaged(), found.optimizers[1].averaged():
        for one, other in zip(found.nets[0].parameters(), found.nets[1].parameters(), strict=True):
            torch.testing.assert_close(other, one, rtol=CLOSE, atol=CLOSE)
    assert (found.step.compilations, found.step.fallback) == (1, None)


def test_dropout_draws_anew_at_each_step() -> None:
    found = pair("dropping")
    for seed in range(5):  # the closure's masks, from the same seeds
        found.both(seed)
    found.compare()
    found.optimizers[1].param_groups[0]["lr"] = 1e-12  # the parameters stay; what differs is the mask
    losses = {found.step(*found.batch(0)).item() for _ in range(3)}
    assert len(losses) == 3
    assert found.step.compilations == 1


@pytest.mark.parametrize(("net", "make"), [("convolutional", sgd), ("dense", METHODS["Adam"])])
def test_inductor_gives_the_same_steps_in_float32(net: str, make: Make) -> None:
    found = pair(net, make, backend="inductor", dtype=torch.float32)
    for seed in range(3):
        found.both(seed, tolerance=2e-5)  # float32's 6e-8, over some hundred terms and three steps
    found.compare(tolerance=2e-5)
    assert (found.step.compilations, found.step.fallback) == (1, None)


@pytest.mark.parametrize("net", ["dense", "attention"])
def test_single_samples_are_exact_to_float32(net: str) -> None:
    build, shape = NETS[net]
    torch.manual_seed(0)
    model = build()
    inputs, targets = torch.randn(8, *shape), torch.randint(0, 3, (8,))
    parameters = list(model.parameters())
    direction = [torch.randn_like(p) for p in parameters]
    length = torch.cat([d.flatten() for d in direction]).norm()
    direction = [d / length for d in direction]

    def curvatures(net: nn.Module, inputs: Tensor, along: list[Tensor]) -> Tensor:
        with torch.enable_grad(), curvestep.record() as tape:
            loss = functional.cross_entropy(net(inputs), targets)
            torch.autograd.grad(loss, list(net.parameters()))
        found = tape.curvature(list(net.parameters()), along).per_sample
        assert found is not None
        return found

    lifting = Lifting()

    def traced(inputs: Tensor, *along: Tensor) -> tuple[Tensor]:
        with lifting:
            return (curvatures(model, inputs, list(along)),)

    with torch.no_grad():
        graph = make_fx(traced, tracing_mode="fake", _allow_non_fake_inputs=True)(inputs, *direction)
        inputs_first(graph)
        run = compile_graph(graph, [inputs, *direction, *lifting.captured], "aot_eager", None)
        exact_model = copy.deepcopy(model).double()
        for norm in (1e-8, 1.0, 1e4):
            along = [norm * d for d in direction]
            (found,) = run(inputs, *along, *lifting.captured)
            exact = curvatures(exact_model, inputs.double(), [d.double() for d in along])
            assert ((found.double() - exact).abs().max() / exact.abs().max()).item() <= 1e-4


def test_it_is_what_a_scheduler_and_the_record_expect() -> None:
    found = pair("dense")
    schedulers = [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9) for optimizer in found.optimizers]
    for seed in range(4):
        found.both(seed)
        for scheduler in schedulers:
            scheduler.step()  # it warns where no step came before it
    found.compare()
    assert found.step.compilations == 1
    assert found.optimizers[1].param_groups[0]["lr"] == pytest.approx(0.5 * 0.9**4)


def test_gradients_are_left_alone() -> None:
    found = pair("dense")
    parameters = list(found.nets[1].parameters())
    parameters[0].grad = torch.full_like(parameters[0], 7.0)
    found.both(0)
    assert torch.equal(parameters[0].grad, torch.full_like(parameters[0], 7.0))
    assert all(p.grad is None for p in parameters[1:])


def test_a_saved_state_goes_on_with_either_kind_of_step() -> None:
    found = pair("dense", lambda p: curvestep.RescaledAdam(p, lr=0.5, averaging=4.0))
    for seed in range(3):
        found.both(seed)
    saved = [copy.deepcopy(optimizer.state_dict()) for optimizer in found.optimizers]
    found.optimizers[0].load_state_dict(saved[1])
    found.optimizers[1].load_state_dict(saved[0])
    for seed in range(3, 6):
        found.both(seed)
    found.compare()
    for seed in range(6, 9):  # and in turns
        batch = found.batch(seed)
        found.by_closure(0, *batch)
        found.by_closure(1, *batch) if seed % 2 else found.step(*batch)
    found.compare()
    assert found.step.compilations == 1


def test_a_loss_that_is_not_finite_changes_nothing() -> None:
    found = pair("dense", curvestep.RescaledAdam)
    found.both(0)
    before = copy.deepcopy((found.nets[1].state_dict(), found.optimizers[1].state_dict()))
    inputs, targets = found.batch(1)
    inputs[0, 0] = float("nan")
    assert found.step(inputs, targets).isnan()
    last = found.optimizers[1].last_step
    assert last is not None and last.outcome is Outcome.NON_FINITE_LOSS
    after = found.nets[1].state_dict(), found.optimizers[1].state_dict()
    for one, other in zip(before[0].values(), after[0].values(), strict=True):
        assert torch.equal(one, other)
    for index, state in before[1]["state"].items():
        assert all(
            torch.equal(torch.as_tensor(v), torch.as_tensor(after[1]["state"][index][k])) for k, v in state.items()
        )
    found.by_closure(0, inputs, targets)
    found.both(2)
    found.compare()


def test_arguments_may_be_nested_and_named() -> None:
    found = pair("dense")

    def loss(batch: dict[str, Tensor], *, smoothing: float) -> Tensor:
        logits = found.nets[1](batch["inputs"])
        return functional.cross_entropy(logits, batch["targets"], label_smoothing=smoothing)

    step = found.optimizers[1].compile(loss, backend="eager")
    inputs, targets = found.batch(0)
    batch = {"inputs": inputs, "targets": targets}
    with torch.no_grad():
        plain, smooth = loss(batch, smoothing=0.0), loss(batch, smoothing=0.5)
    found.optimizers[1].param_groups[0]["lr"] = 1e-12
    assert step(batch, smoothing=0.0).item() == pytest.approx(plain.item())
    assert step(batch, smoothing=0.5).item() == pytest.approx(smooth.item())  # a plain value is a constant of a graph
    assert step.compilations == 2


# -- guards -----------------------------------------------------------------------------------------------------------


def test_another_size_of_batch_is_another_graph() -> None:
    found = pair("dense")
    for seed, size in enumerate([8, 5, 8, 5]):
        found.both(seed, size)
    found.compare()
    assert found.step.compilations == 2


def test_train_and_eval_are_two_graphs() -> None:
    found = pair("convolutional")
    for seed, training in enumerate([True, False, True, False]):
        for net in found.nets:
            net.train(training)
        found.both(seed)
    found.compare()
    assert found.step.compilations == 2


def test_freezing_and_exchanging_a_parameter_is_noticed() -> None:
    found = pair("dense")
    found.both(0)
    for net in found.nets:
        next(net.parameters()).requires_grad_(False)
    found.both(1)
    assert found.step.compilations == 2
    for net, optimizer in zip(found.nets, found.optimizers, strict=True):
        next(net.parameters()).requires_grad_(True)
        last = net[2]  # type: ignore[index]
        last.weight = nn.Parameter(0.5 * last.weight.detach())
        optimizer.param_groups[0]["params"][2] = last.weight
    found.both(2)
    found.compare()
    assert found.step.compilations == 3


def test_numbers_of_a_group_may_change_without_a_new_graph() -> None:
    found = pair("dense", two_groups)
    for seed in range(4):
        found.both(seed)
        for optimizer in found.optimizers:
            optimizer.param_groups[0]["weight_decay"] *= 0.5
            optimizer.param_groups[0]["lr"] *= 0.9
            optimizer.param_groups[1]["decoupled_weight_decay"] = 1e-3
    found.compare()
    assert found.step.compilations == 1


def test_a_level_of_zero_needs_no_graph() -> None:
    found = pair("dense", curvestep.RescaledAdam)
    for lr in (0.0, 0.25, 0.5):
        for optimizer in found.optimizers:
            optimizer.param_groups[0]["lr"] = lr
        found.both(int(4 * lr))
    found.compare()
    assert (found.step.compilations, found.step.fallback) == (1, None)


def test_autocast_around_the_call_is_another_graph() -> None:
    found = pair("dense", dtype=torch.float32)
    found.both(0, tolerance=2e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found.both(1, tolerance=2e-5)  # the same operations in the same dtypes
        found.both(2, tolerance=2e-5)
    found.both(3, tolerance=2e-5)
    found.compare(tolerance=2e-5)
    assert found.step.compilations == 2


def test_buffers_that_the_forward_writes_are_inputs() -> None:
    class Counting(nn.Module):
        calls: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(6, 3, dtype=torch.float64)
            self.register_buffer("calls", torch.ones((), dtype=torch.float64))

        def forward(self, inputs: Tensor) -> Tensor:
            self.calls.add_(1)
            return self.inner(inputs) * self.calls.detach().clone()

    NETS["counting"] = (Counting, (6,))
    try:
        found = pair("counting")
    finally:
        del NETS["counting"]
    for seed in range(4):
        found.both(seed)
    found.compare()
    assert found.nets[1].calls.item() == 5.0  # type: ignore[union-attr]
    assert (found.step.compilations, found.step.fallback) == (1, None)


# -- what is not compiled ---------------------------------------------------------------------------------------------


def falls_back(found: Pair, about: str, steps: int = 3) -> None:
    """The step says once why it runs uncompiled, and is the closure's."""
    with pytest.warns(UserWarning, match=about) as said:
        for seed in range(steps):
            found.both(seed)
    assert sum("compiled step" in str(warning.message) for warning in said) == 1
    found.compare()
    assert found.step.fallback is not None
    assert all(p.grad is None for p in found.nets[1].parameters())


def with_loss(found: Pair, change: Callable[[Tensor], Tensor]) -> Pair:
    """The same pair with another loss."""
    plain = found.loss
    found.loss = lambda which, inputs, targets: change(plain(which, inputs, targets))  # type: ignore[method-assign]
    return found


def test_control_flow_by_values_falls_back() -> None:
    found = pair("dense")
    falls_back(with_loss(found, lambda loss: loss * 2.0 if loss > 0.5 else loss), "tracing it failed with")


def test_a_number_read_off_a_tensor_is_not_baked_in() -> None:
    factor = torch.tensor(2.0)
    found = pair("dense")
    falls_back(with_loss(found, lambda loss: loss * factor.item()), "tracing it failed with")


def test_a_tensor_assigned_in_the_forward_falls_back() -> None:
    class Remembering(nn.Module):
        mean: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(6, 3, dtype=torch.float64)
            self.register_buffer("mean", torch.zeros(3, dtype=torch.float64))

        def forward(self, inputs: Tensor) -> Tensor:
            logits = self.inner(inputs)
            self.mean = 0.9 * self.mean + 0.1 * logits.detach().mean(0)
            return logits - self.mean

    NETS["remembering"] = (Remembering, (6,))
    try:
        found = pair("remembering")
    finally:
        del NETS["remembering"]
    falls_back(found, "assigns a tensor to Remembering.mean")


def test_a_buffer_that_is_overwritten_after_it_was_used_falls_back() -> None:
    scale = [torch.ones((), dtype=torch.float64) for _ in range(2)]

    found = pair("dense")
    plain = found.loss

    def loss(which: int, inputs: Tensor, targets: Tensor) -> Tensor:
        found = plain(which, inputs, targets) * scale[which]
        scale[which].add_(1.0)
        return found

    found.loss = loss  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        found.both(0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        found.step(*found.batch(0))
    assert found.step.fallback is None  # the error of the function comes first, in both kinds of step


def test_rules_that_look_along_the_line_fall_back() -> None:
    falls_back(pair("dense", curvestep.LQA), "looks at the loss further along the line")


def test_hooks_on_gradients_fall_back() -> None:
    found = pair("dense")
    for net in found.nets:
        next(net.parameters()).register_hook(lambda gradient: gradient)
    falls_back(found, "hooks are registered")


def test_a_backend_that_fails_falls_back() -> None:
    def backend(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no compiler was found")

    falls_back(pair("dense", backend=backend), "the backend failed with RuntimeError: no compiler was found")


def test_an_object_among_the_arguments_falls_back() -> None:
    found = pair("dense")
    step = found.optimizers[1].compile(lambda batch: found.loss(1, *batch()), backend="eager")
    with pytest.warns(UserWarning, match="an argument is a function"):
        step(lambda: found.batch(0))
    found.by_closure(0, *found.batch(0))
    found.compare()


def test_after_eight_graphs_new_ones_are_not_made() -> None:
    found = pair("dense")
    with pytest.warns(UserWarning, match="8 graphs were made already") as said:
        for seed in range(MOST_GRAPHS + 3):
            found.both(seed, size=4 + seed)
    assert len(said) == 1
    found.compare()
    assert found.step.compilations == MOST_GRAPHS


def test_a_model_that_is_compiled_already_is_compiled_with_the_step() -> None:
    found = pair("dense")
    inner = torch.compile(found.nets[1], backend="eager")
    step = found.optimizers[1].compile(
        lambda inputs, targets: functional.cross_entropy(inner(inputs), targets), backend="eager"
    )
    for seed in range(3):
        found.by_closure(0, *found.batch(seed))
        step(*found.batch(seed))
    found.compare()
    assert step.fallback is None


def test_an_error_of_the_function_is_the_one_that_is_raised() -> None:
    found = pair("dense")
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        found.step(torch.zeros(8, 7, dtype=torch.float64), torch.zeros(8, dtype=torch.int64))
    found.both(0)
    found.compare()


def test_the_precision_of_the_measurement_is_that_of_the_closure() -> None:
    found = pair("dense", lambda p: curvestep.RescaledSGD(p, lr=0.5, curvature_precision="bfloat16"))
    plain = pair("dense", lambda p: curvestep.RescaledSGD(p, lr=0.5))
    found.both(0)
    plain.both(0)
    rough, same, exact = (optimizer.last_step for optimizer in (*found.optimizers, plain.optimizers[0]))
    assert rough is not None and same is not None and exact is not None
    assert same.curvature == pytest.approx(rough.curvature, rel=1e-6)  # the same roundings to 8 bits
    assert same.curvature != pytest.approx(exact.curvature, rel=1e-6)


def test_a_setting_of_torch_that_no_graph_holds_is_left_to_the_closure() -> None:
    found = pair("dense", lambda p: curvestep.RescaledSGD(p, lr=0.5, curvature_precision="tf32"))
    with pytest.warns(UserWarning, match="curvature_precision='tf32'"):
        found.both(0)
    found.compare()
    assert found.step.compilations == 0
