"""The table of methods: each row builds what it says, and its schedule gives the step sizes that it promises."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from curvestep.bench.errors import SettingError
from curvestep.bench.methods import METHODS, get_method
from curvestep.bench.methods.baselines import cosine_factor
from curvestep.bench.methods.method import BuildRequest, Built
from curvestep.bench.runner import run
from curvestep.bench.settings import Wish, run_config

STEPS, EPOCHS = 40, 4
# λ of the loss, where it is not 1e-7: ALI-G relies on the loss alone, in which a penalty has no place; GeN decouples
# it; EGDD has none.
PENALTIES = {"alig": None, "alig-momentum": None, "gen": 0.0, "egdd": 0.0}


def build(
    name: str, lr: float | None = 0.1, decay: float = 1.0, schedule: str = "exponential", warmup: int = 0
) -> Built:
    parameters = [nn.Parameter(torch.ones(3))]
    request = BuildRequest(parameters, lr, decay, schedule, warmup, weight_decay=1e-7, steps=STEPS, epochs=EPOCHS)
    return get_method(name).build(request)


def rates(built: Built) -> list[float]:
    """The learning rate (for the rescaled methods: ℓ) of each step of a run."""
    seen: list[float] = []
    for _ in range(EPOCHS):
        for _ in range(STEPS // EPOCHS):
            seen.append(built.optimizer.param_groups[0]["lr"])
            # Schedulers want to follow a step; without gradients torch's optimizers do nothing in it.
            if built.reporter is None:
                built.optimizer.step()
            else:
                built.optimizer._opt_called = True  # type: ignore[attr-defined]
            if built.step_scheduler is not None:
                built.step_scheduler.step()
        if built.epoch_scheduler is not None:
            built.epoch_scheduler.step()
    return seen


@pytest.mark.parametrize("name", METHODS)
def test_rows_build(name: str) -> None:
    row = METHODS[name]
    assert row.name == name and row.description
    built = build(name, 0.1 if row.needs_lr else None)
    assert isinstance(built.optimizer, torch.optim.Optimizer)
    # A method that needs no learning rate measures its step; a default makes sense for those alone.
    assert row.needs_lr or built.reporter is not None
    assert built.reporter is None or built.reporter is built.optimizer
    assert row.default_lr is None or not row.needs_lr
    assert built.optimizer.param_groups[0].get("weight_decay") == PENALTIES.get(name, 1e-7)


def test_a_default_rate_is_used_and_may_be_replaced() -> None:
    assert build("alig", None).optimizer.param_groups[0]["lr"] == METHODS["alig"].default_lr == 1.0
    assert build("alig", 0.1).optimizer.param_groups[0]["lr"] == 0.1
    assert build("alig-momentum", None).optimizer.param_groups[0]["momentum"] == 0.9


def test_step_tuned_runs_and_reports_its_steps() -> None:
    record = run(run_config(Wish("digits-mlp", scale="small", epochs=5), "step-tuned", 0.5, 0))
    assert record.last is not None and record.last.test_accuracy is not None
    assert record.last.test_accuracy > 0.8  # chance is 0.1
    assert sum(record.outcomes.values()) == 50
    # τ_1 = α with γ_0 = 1; later ones lie within the factors ½ … 2 around α k^-½.
    sizes = [size for size in record.samples.step_size if size is not None]
    assert sizes[0] == pytest.approx(0.5)
    for k, size in enumerate(sizes, start=1):
        # 1e-9 for the power, which the optimizer and this line may take in different orders
        assert 0.25 * (1 - 1e-9) <= size * k**0.501 <= 1.0 + 1e-9


def test_the_parabola_rows_have_the_published_constants() -> None:
    (lqa,) = build("lqa", None).optimizer.param_groups
    assert (lqa["direction"], lqa["every"], lqa["batch"], lqa["lr"]) == ("gradient", 1, "same", 0.5)
    (gen,) = build("gen", None).optimizer.param_groups
    assert (gen["every"], gen["batch"], gen["initial_step"]) == (8, "next", 1e-4)
    assert gen["decoupled_weight_decay"] == 1e-7


@pytest.mark.parametrize("name", ["lqa", "red-adam-smoothed"])
def test_new_rows_learn_the_digits(name: str) -> None:
    record = run(run_config(Wish("digits-mlp", scale="small", epochs=5), name, None, 0))
    assert record.last is not None and record.last.test_accuracy is not None
    assert record.last.test_accuracy > 0.8  # chance is 0.1


@pytest.mark.parametrize("name", ["red-sgd", "red-adam"])
def test_the_gauss_newton_rows_differ_in_their_curvature_alone(name: str) -> None:
    (exact,), (ggn,) = (build(row, None).optimizer.param_groups for row in (name, f"{name}-ggn"))
    assert {key for key in exact if key != "params" and exact[key] != ggn[key]} == {"curvature_kind"}
    assert ggn["curvature_kind"] == "ggn"
    assert rates(build(name, None)) == rates(build(f"{name}-ggn", None))


def test_the_smoothed_row_averages_its_slope() -> None:
    slopes = [build(name, None).optimizer.param_groups[0]["slope"] for name in ("red-adam", "red-adam-smoothed")]
    assert slopes == ["absolute", "smoothed"]


@pytest.mark.parametrize(("name", "lr"), [("eg-sgd", 0.1), ("eg-adam", 1e-3), ("egdd", 0.02)])
def test_exponentiated_rows_learn_with_a_given_rate(name: str, lr: float) -> None:
    record = run(run_config(Wish("digits-mlp", scale="small", epochs=10), name, lr, 0))
    assert record.last is not None and record.last.test_accuracy is not None
    assert record.last.test_accuracy > 0.8  # chance is 0.1
    assert rates(build(name, decay=0.5))[-1] == pytest.approx(0.1 * 0.5 ** (EPOCHS - 1))


def test_unknown_method_lists_the_known() -> None:
    with pytest.raises(SettingError, match="no method 'sgdd'; did you mean sgd or egdd. The methods are auto, .*adamw"):
        get_method("sgdd")


def test_decay_is_per_epoch() -> None:
    expected = [0.1 * 0.5**epoch for epoch in range(EPOCHS) for _ in range(STEPS // EPOCHS)]
    assert rates(build("sgd", decay=0.5)) == pytest.approx(expected)


def test_constant_rate_without_decay() -> None:
    assert rates(build("adamw")) == [0.1] * STEPS


def test_cosine_with_warmup() -> None:
    seen = rates(build("adamw", schedule="cosine", warmup=10))
    assert seen[:10] == pytest.approx([0.01 * step for step in range(1, 11)])
    assert seen[10] == pytest.approx(0.1) and seen[25] == pytest.approx(0.05)
    assert seen == pytest.approx([0.1 * cosine_factor(step, 10, STEPS) for step in range(STEPS)])


def test_red_sgd_halves_over_the_run() -> None:
    expected = [0.5 ** (epoch / EPOCHS) for epoch in range(EPOCHS) for _ in range(STEPS // EPOCHS)]
    assert rates(build("red-sgd", None)) == pytest.approx(expected)


def test_red_adam_falls_along_a_line_to_a_twentieth() -> None:
    seen = rates(build("red-adam", None))
    assert seen == pytest.approx([1.0 - 0.95 * step / STEPS for step in range(STEPS)])


def test_momentum_starts_at_what_momentum_leaves_and_halves() -> None:
    seen = rates(build("red-sgd-momentum", None))
    # 1 - 0.9 in floating point
    assert seen[0] == pytest.approx(0.1, rel=1e-12) and seen[-1] == pytest.approx(0.1 * 0.5 ** ((EPOCHS - 1) / EPOCHS))
    assert build("red-sgd-momentum", None).optimizer.param_groups[0]["momentum"] == 0.9


def test_a_constant_level_knows_no_horizon() -> None:
    assert rates(build("half-adam", None)) == rates(build("half-adam-guard", None)) == [0.5] * STEPS


def test_guarded_rows_look_at_the_end_of_every_step() -> None:
    rows = ("red-adam", "red-adam-guard", "half-adam", "half-adam-guard")
    assert [build(name, None).optimizer.param_groups[0]["guard_every"] for name in rows] == [0, 1, 0, 1]


def test_the_geometric_variant_falls_by_one_factor_to_a_twentieth() -> None:
    seen = rates(build("red-adam-geometric", None))
    ratios = [b / a for a, b in zip(seen, seen[1:], strict=False)]
    assert ratios == pytest.approx([ratios[0]] * (STEPS - 1))
    assert seen[0] == 1.0
    # Whether 0.05 is reached at the last step or right after it is the schedule's affair.
    assert 0.05 * (1 - 1e-12) <= seen[-1] <= 0.05 * 20 ** (1 / STEPS) * (1 + 1e-12)


def test_rmsprop_is_corrected_from_its_first_step() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    request = BuildRequest([parameter], 0.1, 1.0, "exponential", 0, 0.0, STEPS, EPOCHS)
    built = get_method("rmsprop").build(request)
    parameter.grad = torch.tensor([3.0, -0.01])
    built.optimizer.step()
    # g/√(g²) = sign(g): the corrected average of one square is that square; ε=1e-8 against 0.01 is 1e-6 relative.
    torch.testing.assert_close(parameter.detach(), torch.tensor([-0.1, 0.1]), rtol=2e-6, atol=0)
