"""The memory shows what it says, the engine measures through it exactly, and a run resumes bit for bit."""

from __future__ import annotations

import io

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep
from curvestep.nn import FeatureMemory


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).unsqueeze(1)


def show(memory: FeatureMemory, *values: float) -> tuple[list[float], list[int]]:
    """A batch of features whose targets are ten times as large."""
    rows = memory(column(*values))
    targets = memory.targets(torch.tensor([int(10 * value) for value in values]))
    return rows.flatten().tolist(), targets.tolist()


def test_rows_are_the_batch_each_with_remembered_ones() -> None:
    memory = FeatureMemory(6)
    assert show(memory, 1, 2) == ([1, 2], [10, 20])
    assert show(memory, 3, 4) == ([3, 1, 4, 2], [30, 10, 40, 20])
    # Newest first: 3, 4, 1, 2, two for each sample.
    assert show(memory, 5, 6) == ([5, 3, 4, 6, 1, 2], [50, 30, 40, 60, 10, 20])
    # Full: 1 and 2 are gone.
    assert show(memory, 7, 8) == ([7, 5, 6, 8, 3, 4], [70, 50, 60, 80, 30, 40])
    assert memory.own_rows(6) == slice(0, 6, 3)


def test_other_batch_sizes_get_as_many_as_fit() -> None:
    memory = FeatureMemory(6)
    assert show(memory, 1, 2, 3, 4) == ([1, 2, 3, 4], [10, 20, 30, 40])
    assert show(memory, 5) == ([5, 1, 2, 3, 4], [50, 10, 20, 30, 40])
    assert show(memory, 6, 7, 8, 9) == ([6, 7, 8, 9], [60, 70, 80, 90])
    assert memory.features.flatten().tolist() == [6, 7, 8, 9, 5, 1]
    assert show(memory, 0, 1, 2) == ([0, 6, 1, 7, 2, 8], [0, 60, 10, 70, 20, 80])
    assert show(memory, *range(8)) == (list(range(8)), [10 * value for value in range(8)])
    assert memory.features.flatten().tolist() == [0, 1, 2, 3, 4, 5]


def test_evaluation_is_the_identity_and_stores_nothing() -> None:
    memory = FeatureMemory(6)
    show(memory, 1, 2)
    memory.eval()
    features, targets = column(5, 6), torch.tensor([1, 2])
    assert memory(features) is features and memory.targets(targets) is targets
    assert memory.own_rows(2) == slice(0, 2, 1)
    memory.train()
    assert show(memory, 3, 4)[0] == [3, 1, 4, 2]


def test_gradients_reach_the_extractor_through_the_batch_alone() -> None:
    memory = FeatureMemory(8)
    old, new = column(1, 2).requires_grad_(), column(3, 4).requires_grad_()
    memory(old)
    memory.targets(torch.tensor([0, 1]))
    memory(new).sum().backward()
    assert old.grad is None
    assert new.grad is not None and torch.equal(new.grad, torch.ones(2, 1).double())


def classifier(memory: FeatureMemory, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), memory, nn.Linear(5, 6)).double()


def batch(seed: int, size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(size, 4, generator=generator, dtype=torch.float64),
        torch.randint(0, 6, (size,), generator=generator),
    )


# Twice as many stored as a batch, exactly a batch, not a multiple of it, and a memory that is not full.
@pytest.mark.parametrize(("capacity", "sizes"), [(9, (3, 3, 3)), (6, (3, 3)), (12, (2, 5, 3)), (256, (3, 3, 3, 3))])
def test_curvature_is_exact_sample_by_sample(capacity: int, sizes: tuple[int, ...]) -> None:
    memory = FeatureMemory(capacity)
    model = classifier(memory)
    for seed, size in enumerate(sizes[:-1]):
        inputs, targets = batch(seed, size)
        model(inputs)
        memory.targets(targets)
    features, stored = memory.features.clone(), memory.target_values.clone()
    inputs, targets = batch(99, sizes[-1])
    parameters = list(model.parameters())
    direction = [torch.randn_like(parameter) for parameter in parameters]
    with curvestep.record() as tape:
        loss = F.cross_entropy(model(inputs), memory.targets(targets))
        loss.backward()
    found = tape.curvature(parameters, direction)

    count = sizes[-1]
    repeats = min(capacity // count, 1 + len(features) // count)
    assert repeats > 1
    expected = []
    for sample in range(count):
        mine = slice(sample * (repeats - 1), (sample + 1) * (repeats - 1))
        rows = torch.cat([model[:2](inputs[sample : sample + 1]), features[mine]])
        own = F.cross_entropy(model[3](rows), torch.cat([targets[sample : sample + 1], stored[mine]]))
        gradient = torch.autograd.grad(own, parameters, create_graph=True)
        slope = torch.stack([(g * d).sum() for g, d in zip(gradient, direction, strict=True)]).sum()
        second = torch.autograd.grad(slope, parameters)
        expected.append(torch.stack([(h * d).sum() for h, d in zip(second, direction, strict=True)]).sum())
    assert found.per_sample_exact
    assert found.per_sample is not None and found.per_sample.shape == (count,)
    # float64, a dozen operations in a row: rounding stays below 1e-12 of numbers of about 1.
    torch.testing.assert_close(found.per_sample, torch.stack(expected), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.total, torch.stack(expected).mean(), rtol=1e-10, atol=1e-12)


def test_a_class_that_the_batch_lacks_is_not_forgotten() -> None:
    """The reason of the layer: with batches of one class each, the last layer still separates all of them."""

    def trained(size: int) -> float:
        memory = FeatureMemory(size)
        model = nn.Sequential(memory, nn.Linear(3, 3)).double()
        optimizer = curvestep.RescaledSGD(model.parameters(), lr=0.5, weight_decay=1e-7)
        for step in range(60):
            inputs, targets = torch.eye(3).double()[[step % 3]], torch.tensor([step % 3])
            optimizer.zero_grad()
            with optimizer.record():
                loss = F.cross_entropy(model(inputs), memory.targets(targets))
                loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            return float(F.cross_entropy(model(torch.eye(3).double()), torch.arange(3)))

    torch.manual_seed(0)
    with_memory, without = trained(3), trained(1)
    assert with_memory < 0.1 * without


def test_training_resumes_bit_for_bit() -> None:
    def step(model: nn.Module, memory: FeatureMemory, seed: int) -> None:
        inputs, targets = batch(seed, 2)
        model.zero_grad()
        F.cross_entropy(model(inputs), memory.targets(targets)).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                assert parameter.grad is not None
                parameter -= 0.1 * parameter.grad

    one, two = FeatureMemory(8), FeatureMemory(8)
    straight, resumed = classifier(one), classifier(two, seed=1)
    for seed in range(3):
        step(straight, one, seed)
    file = io.BytesIO()
    torch.save(straight.state_dict(), file)
    file.seek(0)
    step(resumed, two, 50)  # what it holds before loading must not matter
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for seed in range(3, 6):
        step(straight, one, seed)
        step(resumed, two, seed)
    for name, value in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_targets_may_be_values() -> None:
    memory = FeatureMemory(4)
    for sign in (1.0, -1.0):
        rows = memory(sign * torch.ones(2, 3))
        targets = memory.targets(sign * torch.ones(2, 5))
    assert rows.shape == (4, 3) and targets.shape == (4, 5)
    assert targets[:, 0].tolist() == [-1, 1, -1, 1]


def test_refusals() -> None:
    for size in (0, -3, True, 2.0):
        with pytest.raises(ValueError, match="≥ 1, but"):
            FeatureMemory(size)  # type: ignore[arg-type]
    memory = FeatureMemory(4)
    with pytest.raises(ValueError, match="2 targets, but the memory has seen none since the last call"):
        memory.targets(torch.tensor([0, 1]))
    memory(column(1, 2, 3))
    with pytest.raises(ValueError, match="has seen one of 3 samples; call the model in training mode"):
        memory.targets(torch.tensor([0, 1]))
    show(memory, 1, 2)
    with pytest.raises(ValueError, match=r"holds features of shape \(1,\), but a batch came with shape \(7,\)"):
        memory(torch.zeros(2, 7))
    memory.clear()
    assert memory(torch.zeros(2, 7)).shape == (2, 7)
