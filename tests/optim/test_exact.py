"""What the source says of ℓ, in closed form: this holds the constant 2 of Algorithm 1 to the source's statements."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from curvestep._records import Outcome
from curvestep.optim import AbstractComposedOptimizer, RescaledAdam, RescaledRMSprop, RescaledSGD

pytestmark = pytest.mark.usefixtures("float64")

# A few dozen float64 operations between the formula and the step.
ROUNDING = 1e-12


def step(optimizer: AbstractComposedOptimizer, loss: Callable[[], Tensor]) -> float:
    """Record the loss, take a step and return the loss after it."""
    optimizer.zero_grad()
    with optimizer.record():
        loss().backward()
    optimizer.step()
    with torch.no_grad():
        return float(loss())


@pytest.mark.parametrize("start", [0.3, 0.9, 2.0])
def test_level_one_half_without_average_is_newton_in_one_variable(start: float) -> None:
    """Section 2.2: on √(1+θ²) the iterates are θ ← −θ³, which diverge from |θ| > 1 and converge below."""
    theta = torch.tensor([start], requires_grad=True)
    sample = torch.ones(1, 1)
    # From 2 the steps grow past ten times the parameter's norm, which is where the cap would hold them.
    optimizer = RescaledSGD([theta], lr=0.5, beta3=0.0, max_relative_step=1e6)
    expected = start
    for _ in range(2):
        step(optimizer, lambda: (1.0 + (sample @ theta) ** 2).sqrt().mean())
        expected = -(expected**3)
        assert theta.item() == pytest.approx(expected, rel=1e-10)


def test_level_one_half_is_newton_on_another_convex_function() -> None:
    # J = eᶿ − 2θ: Newton's step is (eᶿ − 2) / eᶿ.
    theta = torch.tensor([0.2], requires_grad=True)
    sample = torch.ones(1, 1)
    optimizer = RescaledSGD([theta], lr=0.5, beta3=0.0)
    for _ in range(4):
        start = theta.item()
        step(optimizer, lambda: ((sample @ theta).exp() - 2.0 * (sample @ theta)).mean())
        assert theta.item() == pytest.approx(start - (math.exp(start) - 2.0) / math.exp(start), rel=ROUNDING)


@pytest.mark.parametrize("beta3", [0.0, 0.5, 0.9])
def test_level_one_half_lands_on_the_mean_of_every_batch(beta3: float) -> None:
    """Section 2.2: on ½ E‖θ − X‖² the update is θ = E_B[X], for every β₃."""
    theta = torch.randn(4).requires_grad_()
    optimizer = RescaledSGD([theta], lr=0.5, beta3=beta3)
    for _ in range(5):
        batch = torch.randn(6, 4)
        step(optimizer, lambda batch=batch: (0.5 * (theta - batch) ** 2).sum(dim=1).mean())
        torch.testing.assert_close(theta.detach(), batch.mean(dim=0), rtol=ROUNDING, atol=ROUNDING)


def quadratic(scales: Tensor, theta: Tensor) -> Callable[[], Tensor]:
    """½ mean_s θᵀ diag(scales_s) θ."""
    return lambda: (0.5 * scales * theta**2).sum(dim=1).mean()


@pytest.mark.parametrize(("ell", "factor"), [(0.5, 0.0), (1.0, 1.0), (2.0, 9.0)])
def test_levels_on_a_quadratic_of_one_variable(ell: float, factor: float) -> None:
    """Section 2.1: ½ goes to the minimum, 1 keeps the loss, 2 multiplies it by nine."""
    theta = torch.tensor([3.0], requires_grad=True)
    loss = quadratic(torch.tensor([[1.0], [5.0]]), theta)
    before = loss().item()
    after = step(RescaledSGD([theta], lr=ell, beta3=0.0), loss)
    assert after == pytest.approx(factor * before, rel=ROUNDING, abs=ROUNDING)


@pytest.mark.parametrize("make", [RescaledSGD, RescaledRMSprop, RescaledAdam])
@pytest.mark.parametrize(("ell", "gain"), [(0.25, 0.75), (0.5, 1.0), (1.0, 0.0), (2.0, -8.0)])
def test_levels_on_a_quadratic_of_several_variables(
    make: type[AbstractComposedOptimizer], ell: float, gain: float
) -> None:
    """Along any direction the loss falls by 4 (ℓ − ℓ²) times what the exact line minimum gains: equation (11)."""
    theta = torch.randn(5).requires_grad_()
    loss = quadratic(torch.rand(3, 5) + 0.5, theta)
    before = loss().item()
    optimizer = make([theta], lr=ell)  # pyright: ignore[reportCallIssue]
    after = step(optimizer, loss)
    record = optimizer.last_step
    assert record is not None and record.slope is not None and record.curvature is not None
    best = record.slope**2 / (2 * record.curvature)
    assert before - after == pytest.approx(gain * best, rel=1e-9, abs=1e-9 * best)


def test_the_absolute_value_is_inside_the_mean() -> None:
    """Curvatures of +3 and −1: their mean is 1, the mean of their absolute values 2, and it is the 2 that counts."""
    theta = torch.tensor([1.0], requires_grad=True)
    scales = torch.tensor([[3.0], [-1.0]])
    optimizer = RescaledSGD([theta], lr=1.0)
    step(optimizer, quadratic(scales, theta))
    record = optimizer.last_step
    assert record is not None
    # g = ½ (3 − 1) θ = 1, so d = 1, the slope is 1 and r = 2 · 1 / 2.
    assert (record.curvature, record.absolute_curvature) == pytest.approx((1.0, 2.0), rel=ROUNDING)
    assert record.rescaling == pytest.approx(1.0, rel=ROUNDING)


def test_the_l2_term_is_inside_the_absolute_value_and_in_loss_and_slope() -> None:
    # J_s = ½ a_s θ² + ½ λ θ² with a = (1, −3), λ = 2, θ = 1: J = ½(−1) + 1 = ½, J' = −1 + 2 = 1, d = g = 1,
    # |a_s + λ| = (3, 1), so the mean is 2 and the total (3 − 1) / 2 = 1.
    theta = torch.tensor([1.0], requires_grad=True)
    optimizer = RescaledSGD([theta], lr=0.5, weight_decay=2.0)
    step(optimizer, quadratic(torch.tensor([[1.0], [-3.0]]), theta))
    record = optimizer.last_step
    assert record is not None
    found = (record.loss, record.slope, record.curvature, record.absolute_curvature, record.step_size)
    assert found == pytest.approx((0.5, 1.0, 1.0, 2.0, 0.5), rel=ROUNDING)
    assert theta.item() == pytest.approx(0.5, rel=ROUNDING)


def test_the_l2_option_is_the_l2_term_written_out() -> None:
    batch = torch.randn(4, 3)
    written, option = (torch.full((3,), 0.7, requires_grad=True) for _ in range(2))
    by_hand, by_option = RescaledRMSprop([written]), RescaledRMSprop([option], weight_decay=0.3)
    for _ in range(20):
        step(by_hand, lambda: ((batch * written).sum(dim=1).tanh() + 0.15 * written.square().sum()).mean())
        step(by_option, lambda: (batch * option).sum(dim=1).tanh().mean())
        torch.testing.assert_close(written, option, rtol=1e-9, atol=1e-12)


def test_decoupled_decay_is_no_part_of_the_measurements() -> None:
    theta = torch.tensor([3.0], requires_grad=True)
    optimizer = RescaledSGD([theta], lr=0.5, decoupled_weight_decay=0.5)
    step(optimizer, quadratic(torch.tensor([[2.0]]), theta))
    # τ = ½ goes to the minimum at 0 from 3; the decay takes τ λ_dec θ = ½ · ½ · 3 off as well.
    assert optimizer.param_groups[0]["effective_lr"] == pytest.approx(0.5, rel=ROUNDING)
    assert theta.item() == pytest.approx(-0.75, rel=ROUNDING)


def test_decoupled_decay_stops_at_zero() -> None:
    theta = torch.tensor([3.0], requires_grad=True)
    optimizer = RescaledSGD([theta], lr=0.5, decoupled_weight_decay=100.0)
    step(optimizer, quadratic(torch.tensor([[2.0]]), theta))
    assert theta.item() == pytest.approx(-3.0, rel=ROUNDING)  # (1 − τ λ_dec)⁺ θ − τ g = 0 − ½ · 6


def test_flat_curvature_takes_the_longest_step_that_is_allowed() -> None:
    theta = torch.tensor([3.0, 4.0], requires_grad=True)
    sample = torch.ones(2, 2)
    optimizer = RescaledSGD([theta], max_relative_step=0.5)
    step(optimizer, lambda: (sample @ theta).mean())
    record = optimizer.last_step
    assert record is not None and record.outcome is Outcome.FLAT_CURVATURE
    moved = torch.tensor([3.0, 4.0]) - theta.detach()
    assert float(moved.norm()) == pytest.approx(0.5 * 5.0, rel=ROUNDING)


def test_adam_goes_on_where_the_average_points_uphill() -> None:
    """Appendix C.1, "Step choice": a step of the same length in the current direction."""
    theta = torch.tensor([1.0], requires_grad=True)
    optimizer = RescaledAdam([theta], lr=0.5, betas=(0.9, 0.99), beta3=0.0)
    step(optimizer, quadratic(torch.tensor([[4.0]]), theta))
    with torch.no_grad():
        theta.fill_(-0.01)  # the gradient has turned, its average has not
    step(optimizer, quadratic(torch.tensor([[4.0]]), theta))
    record = optimizer.last_step
    assert record is not None and record.slope is not None and record.slope < 0.0
    assert record.outcome is Outcome.ABSOLUTE_SLOPE
    assert theta.item() == pytest.approx(-0.02, rel=1e-9)  # by |θ| away from the minimum instead of to it


def test_groups_with_different_levels_share_one_rescaling_along_what_is_stepped() -> None:
    # J = ½ (a² + 9 b²) at (2, 1): g = (2, 9); levels (1, ½) make d = (2, 4.5), slope 4 + 40.5, curvature 4 + 9 · 20.25.
    a, b = torch.tensor([2.0], requires_grad=True), torch.tensor([1.0], requires_grad=True)
    optimizer = RescaledSGD([{"params": [a], "lr": 1.0}, {"params": [b], "lr": 0.5}])
    sample = torch.ones(1)
    step(optimizer, lambda: (0.5 * (sample * a) ** 2 + 4.5 * (sample * b) ** 2).mean())
    r = 2 * 44.5 / (4 + 9 * 20.25)
    assert [group["effective_lr"] for group in optimizer.param_groups] == pytest.approx([r, r / 2], rel=ROUNDING)
    assert (a.item(), b.item()) == pytest.approx((2 - r * 2, 1 - r / 2 * 9), rel=ROUNDING)


def test_a_group_at_level_zero_stays_and_is_not_measured() -> None:
    a, b = torch.tensor([2.0], requires_grad=True), torch.tensor([1.0], requires_grad=True)
    optimizer = RescaledSGD([{"params": [a], "lr": 0.5}, {"params": [b], "lr": 0.0}])
    sample = torch.ones(1)
    step(optimizer, lambda: (0.5 * (sample * a) ** 2 + 4.5 * (sample * b) ** 2).mean())
    assert (a.item(), b.item()) == pytest.approx((0.0, 1.0), abs=ROUNDING)
    assert [group["effective_lr"] for group in optimizer.param_groups] == pytest.approx([1.0, 0.0], rel=ROUNDING)
