"""The league's problems with the loss, the batch or a layer changed, and the page's sections on what a change does."""

from __future__ import annotations

import pytest
import torch

from benchmarks.league.changes import SHORT, sections
from benchmarks.league.execute import ALL
from benchmarks.league.methods import NUMBERS, TRIAL, VARIED, VARIED_TRIALS, number, trial_number
from benchmarks.league.problems import CHANGED, PROBLEMS, STEADY
from benchmarks.league.problems.changed import CHANGES
from benchmarks.league.score import Key
from benchmarks.league.split import HALVES, half
from benchmarks.league.trial import Trial
from curvestep.steprules import CurvatureRescaling, NoiseBalance
from curvestep.steprules import Trial as StartTrial

SEEDS = (0, 1, 2)


def test_a_changed_problem_is_the_same_but_for_the_change() -> None:
    torch.manual_seed(0)
    own = PROBLEMS["clusters"].build(0)
    own.model.eval()
    batch, following = next(own.batches), next(own.batches)
    loss, held = own.loss(own.model, batch), own.evaluate(own.model)
    for name, factor in (("loss-x1000", 1e3), ("loss-d1000", 1e-3), ("layer-x10", 1.0), ("layer-d10", 1.0)):
        torch.manual_seed(0)
        other = CHANGED[f"clusters:{name}"].build(0)
        other.model.eval()
        # float32: the loss of 64 samples, and weights divided and multiplied again
        torch.testing.assert_close(other.loss(other.model, next(other.batches)), factor * loss, rtol=1e-5, atol=0.0)
        assert other.evaluate(other.model) == pytest.approx(held, rel=1e-5)
    doubled = next(CHANGED["clusters:batch-x2"].build(0).batches)
    assert all(torch.equal(both, torch.cat([a, b])) for both, a, b in zip(doubled, batch, following, strict=True))


def test_a_stretched_layer_is_trained_in_its_other_size() -> None:
    sizes = {}
    for name in ("layer-x10", "layer-d10"):
        torch.manual_seed(0)
        model = CHANGED[f"clusters:{name}"].build(0).model
        sizes[name] = max(float(p.detach().norm()) for n, p in model.named_parameters() if "original" in n)
    assert sizes["layer-d10"] == pytest.approx(100.0 * sizes["layer-x10"], rel=1e-5)


def test_every_number_of_the_rule_is_taken_at_half_and_at_twice() -> None:
    fields = set(NoiseBalance.__dataclass_fields__) - {"rule", "level", "windows", "trials"}
    assert set(NUMBERS) == fields
    assert len(VARIED) == 2 * len(NUMBERS) and all(row.name in ALL for row in VARIED)
    for name in NUMBERS:
        for factor in (0.5, 2.0):  # within what the rule takes, and not what it was
            changed = NoiseBalance(CurvatureRescaling(), **{name: number(name, factor)})  # pyright: ignore[reportArgumentType]
            assert getattr(changed, name) != getattr(NoiseBalance(CurvatureRescaling()), name)


def test_every_number_of_the_trial_is_taken_at_half_and_at_twice() -> None:
    assert set(TRIAL) == set(StartTrial.__dataclass_fields__)
    assert len(VARIED_TRIALS) == 2 * len(TRIAL) and all(row.name in ALL for row in VARIED_TRIALS)
    for name in TRIAL:
        for factor in (0.5, 2.0):
            changed = StartTrial(**{name: trial_number(name, factor)})  # pyright: ignore[reportArgumentType]
            assert getattr(changed, name) == factor * getattr(StartTrial(), name)


def _trials(losses: dict[tuple[str, str], float], seeds: tuple[int, ...]) -> dict[Key, Trial]:
    made = [Trial(p, m, s, 1.0, 10, ((10, 1.0, x),), {}) for (p, m), x in losses.items() for s in seeds]
    return {trial.key: trial for trial in made}


def test_sections_stand_where_their_runs_are_whole() -> None:
    assert sections({}) == []
    numbers = {(p, row.name): 1.1 if "half" in row.name else 1.3 for p in SHORT for row in VARIED}
    (text,) = sections(_trials({**{(p, "auto"): 1.0 for p in SHORT}, **numbers}, (0,)))
    assert "| leak | 0.3 | 1.100 (1.10) | 1.300 (1.30) |" in text
    numbers = {(p, row.name): 1.1 if "half" in row.name else 1.3 for p in SHORT for row in VARIED_TRIALS}
    (text,) = sections(_trials({**{(p, "auto-start×1000"): 1.0 for p in SHORT}, **numbers}, (0,)))
    assert "| back | 0.1 | 1.100 (1.10) | 1.300 (1.30) |" in text
    starts = {(SHORT[0], "auto-start/1000"): 1.5, (SHORT[0], "auto-start×1000"): 0.5, (SHORT[0], "auto"): 1.0}
    (text,) = sections(_trials(starts, SEEDS))
    assert f"| {SHORT[0]} | 1.500 | 0.500 |" in text
    assert "On all" not in text
    everywhere = [p for each in HALVES for p in half(each.name)]
    ratios = {p: 1.0 + 0.01 * at for at, p in enumerate(everywhere)}
    starts |= {(p, "auto"): 1.0 for p in everywhere}
    starts |= {(p, "auto-start/1000"): ratio for p, ratio in ratios.items()}
    starts |= {(p, "auto-start×1000"): 1.0 for p in everywhere}
    (text,) = sections(_trials(starts, SEEDS))
    worst = ", ".join(f"{p} {ratios[p]:.3g}" for p in everywhere[:-7:-1])
    assert f"| a thousand times shorter | 1.385 | 1.366 | 4 | 0 | {worst} |" in text
    plain = {(p, "auto"): 2.0 for p in STEADY}
    changed = {(f"{p}:loss-x1000", "auto"): 4.0 for p in STEADY}
    (text,) = sections(_trials({**plain, **changed}, SEEDS))
    assert f"| {CHANGES['loss-x1000'][0]} | auto |{' 2.000 |' * len(STEADY)}" in text
