"""Averaged weights: the closed form of the average, the exchange and its undoing, what is refused."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn

from curvestep import CurvestepError
from curvestep.optim import AbstractComposedOptimizer, RescaledAdam, RescaledSGD
from tests.optim.problem import make_problem


def averager(parameters: object, gamma: float = 8.0) -> AbstractComposedOptimizer:
    return RescaledAdam(parameters, lr=0.1, averaging=gamma)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("gamma", [0.0, 1.0, 3.0])
def test_the_average_is_the_weighted_mean_of_the_iterates(gamma: float) -> None:
    problem = make_problem(torch.float64)
    optimizer = averager(problem.net.parameters(), gamma)
    iterates: list[list[torch.Tensor]] = []
    for batch in range(6):
        optimizer.step(problem.closure(optimizer, batch))
        iterates.append([p.detach().clone() for p in problem.net.parameters()])
    # x̄_k = (1 − w) x̄ + w x with w = (γ+1)/(k+γ) gives weights ∝ (k+γ−1)! / (k−1)!, a polynomial of degree γ in k.
    weights = torch.tensor(
        [torch.prod(torch.arange(k, k + gamma, dtype=torch.float64)).item() for k in range(1, 7)], dtype=torch.float64
    )
    weights /= weights.sum()
    with optimizer.averaged():
        for index, parameter in enumerate(problem.net.parameters()):
            expected = sum(w * x[index] for w, x in zip(weights, iterates, strict=True))
            torch.testing.assert_close(parameter.detach(), expected, rtol=1e-12, atol=1e-14)  # a few roundings a step


def test_the_exchange_is_undone_bit_for_bit_also_after_an_exception() -> None:
    problem = make_problem()
    optimizer = averager(problem.net.parameters())
    problem.train(optimizer, range(3))
    before = [p.detach().clone() for p in problem.net.parameters()]
    pointers = [p.data_ptr() for p in problem.net.parameters()]
    with pytest.raises(KeyError), optimizer.averaged():
        assert not all(torch.equal(p, b) for p, b in zip(problem.net.parameters(), before, strict=True))
        raise KeyError
    assert all(torch.equal(p, b) for p, b in zip(problem.net.parameters(), before, strict=True))
    assert [p.data_ptr() for p in problem.net.parameters()] == pointers


def test_averaging_does_not_change_the_steps_and_resumes_exactly() -> None:
    plain, averaged, resumed = make_problem(), make_problem(), make_problem()
    first = RescaledAdam(plain.net.parameters(), lr=0.1)
    second = averager(averaged.net.parameters())
    plain.train(first, range(4))
    averaged.train(second, range(4))
    assert all(torch.equal(a, b) for a, b in zip(plain.net.parameters(), averaged.net.parameters(), strict=True))

    buffer = io.BytesIO()
    torch.save(second.state_dict(), buffer)
    buffer.seek(0)
    resumed.net.load_state_dict(copy.deepcopy(averaged.net.state_dict()))
    third = averager(resumed.net.parameters())
    third.load_state_dict(torch.load(buffer, weights_only=True))
    averaged.train(second, range(2))
    resumed.train(third, range(2))
    left, right = second.averaged_state_dict(averaged.net), third.averaged_state_dict(resumed.net)
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_a_parameter_that_starts_later_has_been_what_it_was_until_then() -> None:
    used, unused = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    optimizer = averager([used, unused])
    noise, values = torch.linspace(-1.0, 1.0, 6).reshape(3, 2), []
    for both in (False, False, True, True):
        optimizer.zero_grad()
        with optimizer.record():
            loss = ((used - 3.0 - noise) ** 2).mean() + (((unused - 5.0 - noise) ** 2).mean() if both else 0.0)
            loss.backward()
        optimizer.step()
        values.append(unused.detach().clone())
    assert set(optimizer.state[unused]) == {"average", "step", "exp_avg", "exp_avg_sq"}
    with optimizer.averaged():
        expected = values[0]
        for step, value in enumerate(values[1:], start=2):
            expected = torch.lerp(expected, value, 9.0 / (step + 8.0))
        torch.testing.assert_close(unused.detach(), expected, rtol=1e-6, atol=0.0)  # roundings of float32


def test_the_state_dict_is_a_copy_of_averaged_parameters_and_present_buffers() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    optimizer = averager(net.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        with optimizer.record():
            net(torch.randn(8, 3)).square().mean().backward()
        optimizer.step()
    saved = optimizer.averaged_state_dict(net)
    with optimizer.averaged():
        assert all(torch.equal(saved[name], value) for name, value in net.state_dict().items())
    assert not torch.equal(saved["0.weight"], net.state_dict()["0.weight"])
    kept = {name: value.clone() for name, value in saved.items()}
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    assert all(torch.equal(kept[name], saved[name]) for name in kept)


def test_sixteen_bit_parameters_are_averaged_in_float32() -> None:
    theta, samples = torch.ones(4, dtype=torch.bfloat16, requires_grad=True), torch.linspace(2.0, 4.0, 12).reshape(3, 4)
    optimizer = averager([theta])
    for _ in range(3):
        optimizer.zero_grad()
        with optimizer.record():
            (theta.float() - samples).square().mean().backward()
        optimizer.step()
    assert optimizer.state[theta]["average"].dtype == torch.float32
    with optimizer.averaged():
        assert theta.dtype == torch.bfloat16


def test_training_inside_the_block_is_refused() -> None:
    problem = make_problem()
    optimizer = averager(problem.net.parameters())
    problem.train(optimizer, range(1))
    with optimizer.averaged():
        with pytest.raises(CurvestepError, match="evaluate there, and record and step outside"):
            optimizer.step(problem.closure(optimizer, 0))
        with pytest.raises(CurvestepError, match="evaluate there"), optimizer.averaged():
            pass
    optimizer.step(problem.closure(optimizer, 0))


def test_an_optimizer_without_average_says_how_to_get_one() -> None:
    optimizer = RescaledSGD([torch.ones(1, requires_grad=True)])
    with pytest.raises(CurvestepError, match=r"averaging=8\.0, or use Auto"), optimizer.averaged():
        pass
    with pytest.raises(ValueError, match="averaging=-1"):
        RescaledSGD([torch.ones(1, requires_grad=True)], averaging=-1.0)
