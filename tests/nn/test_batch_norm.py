"""Refreshed statistics are those of the batches; everything else of the model stays as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from curvestep.nn import keep_batch_norm, refresh_batch_norm


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=0.3), nn.Dropout(0.5), nn.Tanh(), nn.Linear(4, 2), nn.BatchNorm1d(2)
    ).double()


def batches(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(8, 3, generator=generator, dtype=torch.float64) for _ in range(count)]


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def test_statistics_are_means_over_the_batches() -> None:
    network = model()
    network(batches(1)[0])  # statistics that must leave no trace
    refresh_batch_norm(network, batches(5))
    first, _, _, tanh, second, _ = network
    inner = [first(batch) for batch in batches(5)]
    weight, bias = network[1].weight, network[1].bias
    normalised = [(x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt() * weight + bias for x in inner]
    # Dropout is off: the second layer sees exactly this.
    outer = [second(tanh(x)) for x in normalised]
    for layer, seen in ((network[1], inner), (network[5], outer)):
        torch.testing.assert_close(layer.running_mean, torch.stack([x.mean(0) for x in seen]).mean(0))
        torch.testing.assert_close(layer.running_var, torch.stack([x.var(0) for x in seen]).mean(0))


@pytest.mark.parametrize("training", [True, False])
def test_modes_momenta_and_generator_stay(training: bool) -> None:
    network = model().train(training)
    network[2].eval()  # a mode of its own
    modes = [module.training for module in network.modules()]
    generator = torch.get_rng_state()
    refresh_batch_norm(network, batches(2))
    assert [module.training for module in network.modules()] == modes
    assert [network[1].momentum, network[5].momentum] == [0.3, 0.1]
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_keep_puts_everything_back_even_after_an_error() -> None:
    network = model()
    network(batches(1)[0])
    before = state(network)
    with pytest.raises(KeyError), keep_batch_norm(network):
        refresh_batch_norm(network, batches(3))
        assert not torch.equal(state(network)["1.running_mean"], before["1.running_mean"])
        raise KeyError
    after = state(network)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_an_error_in_the_middle_leaves_the_old_statistics() -> None:
    def broken() -> Iterator[Tensor]:
        yield batches(1)[0]
        raise OSError("the disk is gone")

    network = model()
    before = state(network)
    with pytest.raises(OSError, match="disk"):
        refresh_batch_norm(network, broken())
    assert all(torch.equal(state(network)[name], value) for name, value in before.items())
    assert network.training and network[1].momentum == 0.3


def test_no_batch_is_refused() -> None:
    network = model()
    with pytest.raises(ValueError, match="needs at least one batch, but none came"):
        refresh_batch_norm(network, [])
    assert torch.equal(state(network)["1.running_mean"], torch.zeros(4).double())


def test_a_model_without_statistics_is_not_called() -> None:
    def untouched() -> Iterator[Tensor]:
        raise AssertionError("no batch is needed")
        yield torch.zeros(1)

    refresh_batch_norm(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False)), untouched())


def test_a_tuple_is_positional_arguments() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(1)

        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return self.norm(left + right)

    network = Sum()
    refresh_batch_norm(network, [(torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [1.0]]))])
    assert network.norm.running_mean is not None
    torch.testing.assert_close(network.norm.running_mean, torch.tensor([3.0]))
