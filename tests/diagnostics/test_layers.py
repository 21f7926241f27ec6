"""The report by layers, against double backward in float64."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep


# One sum of a few hundred products in float64, in another order than double backward's.
def close(value: float) -> object:
    return pytest.approx(value, rel=1e-9, abs=1e-12)


def made() -> tuple[nn.Sequential, Tensor, Tensor, list[Tensor]]:
    """A net with nested modules and a frozen weight, a batch, and a direction for every parameter."""
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Sequential(nn.Linear(6, 5), nn.GELU()), nn.Linear(5, 3))
    model[3].weight.requires_grad_(False)
    return model, torch.randn(7, 4), torch.randint(3, (7,)), [torch.randn_like(p) for p in model.parameters()]


def second_derivatives(
    losses: Tensor, parameters: Sequence[Tensor], direction: Sequence[Tensor]
) -> tuple[float, list[float]]:
    """⟨∇J, d⟩ for the mean of the losses, and dᵀ∇²J_s d of each, by double backward."""
    found = []
    for loss in losses:
        gradient = torch.autograd.grad(loss, parameters, create_graph=True)
        slope = sum((g * d).sum() for g, d in zip(gradient, direction, strict=True))
        assert isinstance(slope, Tensor)
        product = torch.autograd.grad(slope, parameters, retain_graph=True, allow_unused=True)
        curvature = sum((h * d).sum() for h, d in zip(product, direction, strict=True) if h is not None)
        found.append((slope.item(), float(curvature)))
    return sum(slope for slope, _ in found) / len(found), [curvature for _, curvature in found]


@pytest.mark.parametrize("by", ["tensor", "module"])
def test_each_layer_is_its_block_of_the_hessian(by: str, float64: torch.dtype) -> None:
    model, x, y, direction = made()
    named = list(model.named_parameters())
    with curvestep.record() as tape:
        F.cross_entropy(model(x), y).backward()
    report = curvestep.layer_curvature(tape, named, direction, by=by)  # pyright: ignore[reportArgumentType]
    names = ["0.weight", "0.bias", "2.0.weight", "2.0.bias", "3.bias"] if by == "tensor" else ["0", "2.0", "3"]
    assert [layer.name for layer in report] == names, "the frozen weight is passed over"
    for layer in report:
        own = [
            (p, d)
            for (name, p), d in zip(named, direction, strict=True)
            if layer.name in (name, name.rpartition(".")[0]) and p.requires_grad
        ]
        parameters, parts = [p for p, _ in own], [d for _, d in own]
        slope, curvatures = second_derivatives(F.cross_entropy(model(x), y, reduction="none"), parameters, parts)
        absolute = sum(map(abs, curvatures)) / len(curvatures)
        assert layer.slope == close(slope)
        assert layer.curvature == close(sum(curvatures) / len(curvatures))
        assert layer.absolute_curvature == close(absolute)
        assert layer.direction_norm_sq == close(sum(d.square().sum().item() for d in parts))
        assert layer.step == pytest.approx(slope / absolute, rel=1e-8)  # two of the tolerances above


def test_the_step_of_a_layer_is_that_of_the_optimizer_with_this_layer_alone(float64: torch.dtype) -> None:
    model, x, y, _ = made()
    weight = model[0].weight
    assert isinstance(weight, Tensor)
    optimizer = curvestep.RescaledSGD([weight], lr=0.5)
    with curvestep.record() as tape:
        F.cross_entropy(model(x), y).backward()
    assert weight.grad is not None
    (layer,) = curvestep.layer_curvature(tape, [("0.weight", weight)], [weight.grad])
    with optimizer.record():
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
    optimizer.step()
    assert optimizer.last_step is not None
    assert layer.step == close(optimizer.last_step.step_size)


def test_the_tape_and_the_gradients_stay_as_they_were(float64: torch.dtype) -> None:
    model, x, y, direction = made()
    named = list(model.named_parameters())
    with curvestep.record() as tape:
        F.cross_entropy(model(x), y).backward()
    before = [None if p.grad is None else p.grad.clone() for _, p in named]
    first = curvestep.layer_curvature(tape, named, direction)
    assert curvestep.layer_curvature(tape, named, direction) == first
    for (_, p), grad in zip(named, before, strict=True):
        assert (p.grad is None) == (grad is None) and (grad is None or torch.equal(p.grad, grad))  # pyright: ignore


def test_what_the_loss_does_not_depend_on_has_zeros() -> None:
    used, unused = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    with curvestep.record() as tape:
        (used**2).sum().backward()
    _, layer = curvestep.layer_curvature(tape, [("used", used), ("unused", unused)], [torch.ones(2), torch.ones(3)])
    assert (layer.slope, layer.curvature, layer.absolute_curvature, layer.step) == (0.0, 0.0, 0.0, None)


def test_gauss_newton_form_is_never_negative(float64: torch.dtype) -> None:
    model, x, y, direction = made()
    with curvestep.record() as tape:
        F.cross_entropy(model(x), y).backward()
    exact, form = (
        curvestep.layer_curvature(tape, model.named_parameters(), direction, kind=kind)  # pyright: ignore
        for kind in ("exact", "ggn")
    )
    assert all(layer.curvature == close(layer.absolute_curvature) for layer in form)
    assert any(a.curvature != b.curvature for a, b in zip(exact, form, strict=True))
    # the logits are linear in the last bias
    assert form[-1].curvature == close(exact[-1].curvature)


def test_refusals() -> None:
    theta = torch.ones(2, requires_grad=True)
    with curvestep.record() as tape:
        (theta**2).sum().backward()
    with pytest.raises(ValueError, match="by must be one of tensor, module, but by='block' was given"):
        curvestep.layer_curvature(tape, [("t", theta)], [theta.detach()], by="block")  # pyright: ignore
    with pytest.raises(curvestep.DirectionError, match="but 0 tensors were given for 1 named parameters"):
        curvestep.layer_curvature(tape, [("t", theta)], [])
    with pytest.raises(curvestep.DirectionError):
        curvestep.layer_curvature(tape, [("t", theta)], [torch.ones(3)])
    assert curvestep.layer_curvature(tape, [("t", theta.detach())], [torch.ones(2)]) == ()
    tape.release()
    with pytest.raises(curvestep.RecordingError, match="released"):
        curvestep.layer_curvature(tape, [("t", theta)], [torch.ones(2)])
