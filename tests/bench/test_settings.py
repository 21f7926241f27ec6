"""Settings: filled in from the task, refused in sentences that say what exists."""

from __future__ import annotations

import dataclasses

import pytest

from curvestep.bench.errors import SettingError
from curvestep.bench.settings import LR_GRID, Wish, comparison, run_config, with_rates

WISH = Wish("digits-mlp")


def test_numbers_come_from_the_task() -> None:
    config = run_config(WISH, "red-sgd", None, 7)
    assert (config.epochs, config.batch_size, config.subset, config.seed) == (50, 128, None, 7)
    assert run_config(Wish("digits-mlp", scale="small", epochs=2), "red-sgd", None, 0).epochs == 2
    assert config.label == "red-sgd"
    assert run_config(WISH, "sgd", 0.5, 0).label == "sgd, lr 0.5"


def test_rate_schedule_is_no_setting_of_a_method_without_rate() -> None:
    cosine = dataclasses.replace(WISH, schedule="cosine", warmup=5)
    assert run_config(cosine, "red-sgd", None, 0).key == run_config(WISH, "red-sgd", None, 0).key
    assert run_config(cosine, "adamw", 0.1, 0).key != run_config(WISH, "adamw", 0.1, 0).key
    assert run_config(cosine, "step-tuned", 0.1, 0) == run_config(WISH, "step-tuned", 0.1, 0)
    assert run_config(WISH, "step-tuned", 0.1, 0).lr == 0.1


def test_a_rate_may_be_given_where_there_is_a_default() -> None:
    default, given = run_config(WISH, "alig", None, 0), run_config(WISH, "alig", 0.1, 0)
    assert (default.label, given.label) == ("alig", "alig, lr 0.1")
    assert run_config(WISH, "alig", 1.0, 0).key == default.key != given.key
    assert with_rates(["alig", "sgd"], [0.1]) == [("alig", None), ("sgd", 0.1)]


@pytest.mark.parametrize(
    ("changes", "method", "lr", "sentence"),
    [
        (
            {"task": "mnist"},
            "sgd",
            0.1,
            "no task 'mnist'; did you mean mnist-vit or mnist-lenet. The tasks are digits-mlp, mnist-lenet",
        ),
        ({}, "sgdd", 0.1, "no method 'sgdd'; did you mean sgd or egdd. The methods are auto"),
        ({"scale": "huge"}, "sgd", 0.1, "no scale 'huge'; it has paper, small"),
        ({}, "sgd", None, "sgd needs a learning rate, give one with --lr; auto, .* need none"),
        ({}, "red-sgd", 0.1, "red-sgd takes no learning rate"),
        ({}, "sgd", -0.1, "positive finite number, --lr -0.1 was given"),
        ({}, "sgd", float("nan"), "positive finite number, --lr nan"),
        ({}, "sgd", float("inf"), "positive finite number, --lr inf"),
        ({"decay": 0.0}, "sgd", 0.1, r"lies in \(0, 1\], --decay 0 was given"),
        ({"decay": 1.5}, "sgd", 0.1, r"--decay 1.5 was given"),
        ({"schedule": "linear"}, "sgd", 0.1, "no schedule 'linear'; the schedules are exponential, cosine"),
        ({"schedule": "cosine", "decay": 0.9}, "sgd", 0.1, "--decay belongs to the schedule exponential"),
        ({"warmup": 5}, "sgd", 0.1, "--warmup belongs to --schedule cosine"),
        ({"schedule": "cosine", "warmup": 10, "steps": 10}, "sgd", 0.1, "less than the length of the run, 10"),
        ({"weight_decay": -1.0}, "sgd", 0.1, "finite number ≥ 0, --weight-decay -1"),
        ({"epochs": 1, "steps": 1}, "sgd", 0.1, "--epochs or with --steps, not with both"),
        ({"epochs": 0}, "sgd", 0.1, "--epochs is a whole number ≥ 1, 0 was given"),
        ({"steps": -1}, "sgd", 0.1, "--steps is a whole number ≥ 1, -1 was given"),
        ({"batch_size": 0}, "sgd", 0.1, "--batch-size is a whole number ≥ 1"),
        ({"subset": 0}, "sgd", 0.1, "--subset is a whole number ≥ 1"),
    ],
)
def test_refusals(changes: dict[str, object], method: str, lr: float | None, sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        run_config(dataclasses.replace(WISH, **changes), method, lr, 0)  # type: ignore[arg-type]


def test_negative_seed() -> None:
    with pytest.raises(SettingError, match="seed is a whole number ≥ 0, -1"):
        run_config(WISH, "red-sgd", None, -1)


def test_comparison_interleaves_methods() -> None:
    configs = comparison(WISH, [("red-sgd", None), ("sgd", 0.1)], seeds=2)
    assert [(config.method, config.seed) for config in configs] == [
        ("red-sgd", 0),
        ("sgd", 0),
        ("red-sgd", 1),
        ("sgd", 1),
    ]
    with pytest.raises(SettingError, match="--seeds"):
        comparison(WISH, [("red-sgd", None)], seeds=0)


def test_each_rate_once_for_methods_that_need_one() -> None:
    assert with_rates(["red-sgd", "sgd", "sgd"], [0.1, 1.0, 0.1]) == [("red-sgd", None), ("sgd", 0.1), ("sgd", 1.0)]
    with pytest.raises(SettingError, match="sgd, adamw need learning rates; give some with --lrs"):
        with_rates(["red-sgd", "sgd", "adamw"], [])
    with pytest.raises(SettingError, match="None of the methods takes a learning rate"):
        with_rates(["red-sgd"], [0.1])
    with pytest.raises(SettingError, match="--methods needs at least one"):
        with_rates([], [])


def test_the_grid_has_fourteen_rates() -> None:
    assert len(LR_GRID) == 14
    assert LR_GRID == pytest.approx((1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 1e-1, 5e-1, 1.0, 5.0, 10.0, 50.0))
