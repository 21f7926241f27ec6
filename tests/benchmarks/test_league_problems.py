"""The league's fresh, later and fifth problems: each repeats on a seed, and what they take for the truth is true."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice

import pytest
import torch
from torch import Tensor, nn

from benchmarks.league.problem import Problem
from benchmarks.league.problems import FIFTH, FRESH, LATER, PROBLEMS

# What each problem reads; the others make their data or have scikit-learn's.
_READS = {
    "words-convolution": ("tinyshakespeare",),
    "masked-bytes": ("tinyshakespeare",),
    "rows-gru": ("mnist",),
    "cifar100-plain": ("cifar100",),
    "mnist-matching": ("mnist",),
    "pair-noise": ("cifar10",),
    "finetune-mixer": ("cifar10", "cifar100"),
    "triplets": ("mnist",),
    "rescaled-layers": ("mnist",),
    "spelling": ("tinyshakespeare",),
    "bytes-experts": ("tinyshakespeare",),
    "pixels-states": ("mnist",),
    "segmentation": ("mnist",),
    "mnist-pixelcnn": ("mnist",),
    "mixup": ("cifar10",),
    "finetune-order": ("tinyshakespeare",),
    "mean-teacher": ("mnist",),
    "captions": ("mnist",),
    "hinge": ("cifar10",),
    "cifar-preact": ("cifar10",),
    "bytes-alibi": ("tinyshakespeare",),
    "bytes-retention": ("tinyshakespeare",),
    "bytes-lstm": ("tinyshakespeare",),
    "cifar-convnext": ("cifar10",),
    "ngrams": ("tinyshakespeare",),
    "masked-images": ("mnist",),
    "distilled": ("mnist",),
    "finetune-scales": ("cifar10", "cifar100"),
    "class-contrast": ("cifar10",),
    "cifar-softmax": ("cifar10",),
    "highway": ("mnist",),
}
_ROWS = [
    pytest.param(row, id=row.name, marks=[pytest.mark.data(*_READS[row.name])] if row.name in _READS else [])
    for row in (*FRESH, *LATER, *FIFTH)
]


class _Known(nn.Module):
    """A model that is a function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _few_steps(problem: Problem, seed: int) -> tuple[list[float], float]:
    """The losses of four steps of AdamW, and what is held out after them."""
    torch.manual_seed(seed)
    instance = problem.build(seed)
    normed = any(isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)) for part in instance.model.modules())
    assert bool(instance.norm_inputs) == normed
    optimizer = torch.optim.AdamW(instance.model.parameters(), lr=3e-3)
    losses: list[float] = []
    instance.model.train()
    for step, batch in enumerate(islice(instance.batches, 4), 1):
        optimizer.zero_grad()
        loss = instance.loss(instance.model, batch)
        loss.backward()
        optimizer.step()
        if instance.on_step is not None:
            instance.on_step(step, instance.model)
        losses.append(loss.item())
    held = instance.evaluate(instance.model)
    assert instance.evaluate(instance.model) == held and instance.model.training
    return losses, held


@pytest.mark.parametrize("problem", _ROWS)
def test_a_problem_repeats_on_a_seed(problem: Problem) -> None:
    losses, held = _few_steps(problem, 0)
    assert all(math.isfinite(value) and value >= 0.0 for value in (*losses, held))
    assert _few_steps(problem, 0) == (losses, held)
    assert _few_steps(problem, 1)[0] != losses


def test_the_solution_of_the_heat_equation_has_no_loss_and_no_error() -> None:
    def solution(points: Tensor) -> Tensor:
        x, t = points.chunk(2, -1)
        slow = torch.exp(-(math.pi**2) * t / 10) * torch.sin(math.pi * x)
        return slow + 0.5 * torch.exp(-9 * math.pi**2 * t / 10) * torch.sin(3 * math.pi * x)

    instance = PROBLEMS["heat"].build(0)
    known = _Known(solution)
    assert instance.evaluate(known) < 1e-6
    assert instance.loss(known, next(instance.batches)).item() < 1e-9


def test_the_values_of_the_linear_system_are_those_of_its_steps() -> None:
    """Least-squares temporal differences on 40,000 steps find the quadratic that is held out."""

    def features(x: Tensor) -> Tensor:
        return torch.cat([(x[:, :, None] * x[:, None, :]).flatten(1), torch.ones(len(x), 1)], -1).double()

    instance = PROBLEMS["linear-system"].build(0)
    now, cost, after = (torch.cat(part) for part in zip(*islice(instance.batches, 625), strict=True))
    left = features(now).T @ (features(now) - 0.9 * features(after))
    weights = torch.linalg.pinv(left) @ features(now).T @ cost.double()
    assert instance.evaluate(_Known(lambda x: features(x) @ weights)) < 2e-3


def test_the_copy_of_the_linear_system_follows() -> None:
    """At a state of no cost the loss is (model − 0.9 copy)²: a bias of 1 gives 0.01 once the copy has it as well."""
    instance = PROBLEMS["linear-system"].build(0)
    assert instance.on_step is not None
    with torch.no_grad():
        for parameter in instance.model.parameters():
            parameter.zero_()
        [*_, last] = instance.model.children()
        assert isinstance(last, nn.Linear)
        last.bias.fill_(1.0)
        for step in range(1, 1_001):
            instance.on_step(step, instance.model)
        loss = instance.loss(instance.model, (torch.zeros(4, 3), torch.zeros(4, 1), torch.zeros(4, 3)))
    assert loss.item() == pytest.approx(0.01, rel=1e-4)


def test_the_volume_of_the_flow_is_the_determinant_of_its_jacobian() -> None:
    torch.manual_seed(0)
    instance = PROBLEMS["moons-flow"].build(0)
    # The couplings start at the identity, and the points are standardised: 1 + log 2π.
    assert instance.evaluate(instance.model) == pytest.approx(1.0 + math.log(2.0 * math.pi), abs=0.05)
    with torch.no_grad():
        for parameter in instance.model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    point = torch.tensor([[0.3, -0.7]])
    jacobian = torch.autograd.functional.jacobian(lambda x: instance.model(x)[0][0], point)
    assert isinstance(jacobian, Tensor)
    assert jacobian[:, 0].det().abs().log().item() == pytest.approx(instance.model(point)[1].item(), abs=1e-5)


def test_the_deviance_of_counts_is_zero_at_themselves() -> None:
    instance = PROBLEMS["poisson-regression"].build(0)
    _, counts = next(instance.batches)
    exact = _Known(lambda x: (counts + 1e-9).log())
    assert instance.loss(exact, (counts, counts)).item() == pytest.approx(0.0, abs=1e-5)
    assert instance.loss(_Known(torch.zeros_like), (torch.ones(4, 1), torch.ones(4, 1))).item() == 0.0


@pytest.mark.data("tinyshakespeare")
def test_seven_bytes_of_a_row_are_masked() -> None:
    tokens, targets = next(PROBLEMS["masked-bytes"].build(0).batches)
    assert ((tokens == 0) == (targets != -100)).all()
    assert ((tokens == 0).sum(1) == 7).all()


@pytest.mark.data("mnist")
def test_rescaled_layers_start_as_the_usual_function() -> None:
    instance = PROBLEMS["rescaled-layers"].build(0)
    before = instance.evaluate(instance.model)
    layers = [layer for layer in instance.model.modules() if isinstance(layer, nn.Linear)]
    assert len(layers) == 6 and layers[0].weight.std().item() == pytest.approx(10.0 * math.sqrt(2.0 / 196.0), rel=0.03)
    with torch.no_grad():
        for number, layer in enumerate(layers):
            layer.weight *= 0.1 if number % 2 == 0 else 10.0
    assert instance.evaluate(instance.model) == pytest.approx(before, rel=1e-4)


def test_a_triplet_has_two_images_of_one_class() -> None:
    from benchmarks.league.problems.contrastive import _triplets

    labels = torch.arange(200) % 10
    anchor, same, other = _triplets(labels, labels, torch.arange(200), torch.Generator().manual_seed(0))
    assert (anchor == same).all() and (anchor != other).all()
    assert len(other.unique()) == 10


@pytest.mark.data("tinyshakespeare")
def test_a_misspelt_row_stands_beside_itself() -> None:
    pair, rows = next(PROBLEMS["spelling"].build(0).batches)
    wrong, written = pair.unbind(1)
    assert (written[:, 1:] == rows[:, :-1]).all() and (written[:, 0] == 0).all()
    # 16 rows of 24 bytes: 0 stands at the end for each that is left out.
    assert 0.0 < (wrong == 0).float().mean() < 0.15
    assert ((wrong == 0).diff(dim=1).long() >= 0).all() and (wrong != rows).any()


def test_each_token_asks_two_experts() -> None:
    from benchmarks.league.problems.text import _Experts

    torch.manual_seed(0)
    experts, x = _Experts(8, 16), torch.randn(2, 5, 8)
    added, uneven = experts(x)
    best = experts.router(x[0, 0]).topk(2)
    answers = [nn.functional.gelu(x[0, 0] @ experts.up[k]) @ experts.down[k] for k in best.indices]
    shares = best.values.softmax(0)
    assert torch.allclose(added[0, 0], shares[0] * answers[0] + shares[1] * answers[1], atol=1e-5)
    assert uneven.shape == (2,) and (uneven > 0.9).all()


def test_a_state_space_adds_up_its_past() -> None:
    from benchmarks.league.problems.recurrent import _States

    torch.manual_seed(0)
    part, x = _States(4, 3, 7), torch.randn(2, 7, 4)
    pace, inner = part.pace[:, :, 0].exp(), part.norm(x)
    moved = torch.zeros(2, 7, 4)
    for place in range(7):
        for before in range(place + 1):
            time = pace * (place - before)
            waves = part.parts[0, ..., 0] * (part.pitch[..., 0] * time).cos()
            waves = waves - part.parts[1, ..., 0] * (part.pitch[..., 0] * time).sin()
            response = 2.0 * (pace * (-part.damping[..., 0].exp() * time).exp() * waves).sum(1)
            moved[:, place] += response * inner[:, before]
    moved = moved + part.past * inner
    expected = x + nn.functional.glu(part.out(nn.functional.gelu(moved)), -1)
    assert torch.allclose(part(x), expected, atol=1e-5)


def test_the_loss_of_a_forecast_is_least_at_the_quantiles() -> None:
    instance = PROBLEMS["forecast"].build(0)
    past, _ = next(instance.batches)
    normal = torch.randn(len(past), 12, generator=torch.Generator().manual_seed(0))

    def at(shift: float) -> float:
        levels = torch.tensor([-1.2816, 0.0, 1.2816]) + shift
        return instance.loss(_Known(lambda x: levels.expand(len(x), 12, 3)), (past, normal)).item()

    assert at(0.0) < min(at(-0.5), at(0.5))
    exact = _Known(lambda x: normal[..., None].expand(-1, -1, 3))
    assert instance.loss(exact, (past, normal)).item() == 0.0


def test_the_pixels_of_a_digit_have_its_class() -> None:
    from benchmarks.league.problems.vision import _scenes

    full = torch.ones(3, 1, 14, 14)
    scenes, classes = _scenes(full, torch.tensor([4, 5, 6]), 50, torch.Generator().manual_seed(0))
    assert set(classes.unique().tolist()) == {0, 5, 6, 7}
    assert ((classes > 0).sum((1, 2)) >= 196).all() and ((classes > 0).sum((1, 2)) <= 392).all()
    assert scenes[:, 0][classes > 0].mean().item() == pytest.approx(1.0, abs=0.01)
    assert scenes[:, 0][classes == 0].mean().item() == pytest.approx(0.0, abs=0.01)


def test_neighbours_are_of_one_community_by_the_chance_that_is_said() -> None:
    from benchmarks.league.problems.graphs import _graph

    _, labels, neighbours = _graph(torch.Generator().manual_seed(0))
    same = (labels[neighbours] == labels[:, None]).float().mean()
    assert same.item() == pytest.approx(0.5 + 0.5 / 6.0, abs=0.01)


def test_a_pixel_is_told_by_those_before_it_alone() -> None:
    from benchmarks.league.problems.pixels import _Stepwise

    torch.manual_seed(0)
    model, image = _Stepwise(8), torch.rand(1, 1, 14, 14)
    changed = image.clone()
    changed[0, 0, 6, 5] += 1.0
    told = (model(image) - model(changed)).flatten().abs() > 0.0
    assert not told[: 6 * 14 + 6].any() and told[6 * 14 + 6]


def test_the_solutions_of_the_reaction_follow_its_equation() -> None:
    from benchmarks.league.problems.operators import _solved

    sources, solutions = _solved(20, torch.Generator().manual_seed(0))
    middle = solutions[:, 1:-1, 1:-1]
    bend = (solutions[:, 1:-1, 2:] - 2.0 * middle + solutions[:, 1:-1, :-2]) * 40.0**2
    change = (solutions[:, 2:, 1:-1] - solutions[:, :-2, 1:-1]) / 0.2
    wrong = change - (0.01 * bend + 0.01 * middle**2 + sources[:, None, 1:-1])
    assert wrong.norm() < 0.03 * change.norm()


@pytest.mark.data("mnist")
def test_the_teacher_becomes_its_student() -> None:
    """With one image for both the two agree, once the teacher has followed, and the labels' loss is left."""
    instance = PROBLEMS["mean-teacher"].build(0)
    assert instance.on_step is not None
    inputs, targets, mine, _ = next(instance.batches)
    with torch.no_grad():
        for parameter in instance.model.parameters():
            parameter.mul_(2.0)
        own = nn.functional.cross_entropy(instance.model(inputs), targets)
        assert instance.loss(instance.model, (inputs, targets, mine, mine)) > own + 1e-3
        for step in range(1, 2_001):
            instance.on_step(step, instance.model)
        assert instance.loss(instance.model, (inputs, targets, mine, mine)).item() == pytest.approx(
            own.item(), abs=1e-6
        )


@pytest.mark.data("cifar10")
def test_the_hinge_begins_at_one_and_is_that_of_torch() -> None:
    instance = PROBLEMS["hinge"].build(0)
    assert instance.evaluate(instance.model) == pytest.approx(1.0, rel=1e-5)
    inputs, labels = next(instance.batches)
    with torch.no_grad():
        scores = torch.randn(len(labels), 10)
        expected = nn.functional.multi_margin_loss(scores, labels) * 10.0 / 9.0
        assert instance.loss(_Known(lambda x: scores), (inputs, labels)).item() == pytest.approx(
            expected.item(), rel=1e-5
        )


@pytest.mark.data("tinyshakespeare")
@pytest.mark.parametrize("name", ["bytes-alibi", "bytes-retention"])
def test_a_byte_is_guessed_from_those_before_it(name: str) -> None:
    instance = PROBLEMS[name].build(0)
    tokens, _ = next(instance.batches)
    other = tokens.clone()
    other[:, 30:] = (other[:, 30:] + 1) % 100
    with torch.no_grad():
        first, second = instance.model(tokens), instance.model(other)
    assert torch.allclose(first[:, :30], second[:, :30], atol=1e-5)
    assert not torch.allclose(first[:, 30:], second[:, 30:], atol=1e-2)


def test_the_field_of_the_pendulum_leaves_the_noise() -> None:
    from benchmarks.league.problems.pendulum import _fall

    instance = PROBLEMS["pendulum"].build(0)
    instance.model.field = _Known(_fall)
    # 0.05², from 16,000 squares of normal numbers.
    assert instance.evaluate(instance.model) == pytest.approx(0.0025, rel=0.05)


def test_the_values_of_double_q_are_a_fixed_point() -> None:
    from benchmarks.league.problems.double_q import _DISCOUNT, _true_values, _world

    _, leads, reward = _world()
    values = _true_values(leads, reward)
    assert torch.allclose(values, reward + _DISCOUNT * leads @ values.max(1).values, atol=1e-5)


def test_images_of_one_class_at_one_place_are_found_by_chance() -> None:
    from benchmarks.league.problems.likeness import _alike

    same = _Known(lambda images: torch.ones(len(images), 4))
    assert _alike(same, (torch.zeros(9, 1), torch.zeros(9))).item() == pytest.approx(math.log(8.0), rel=1e-5)


def test_hazards_of_one_half_cost_a_bit_a_period() -> None:
    from benchmarks.league.problems.cohorts import _survival

    even = _Known(lambda x: torch.zeros(len(x), 12))
    lived = torch.tensor([0, 3, 11])
    seen = torch.tensor([True, False, True])
    assert _survival(even, (torch.zeros(3, 1), lived, seen)).item() == pytest.approx(
        math.log(2.0) * 17.0 / 3.0, rel=1e-6
    )
