"""The growth: what is counted, the model that is fitted to it, and what is said of larger ones."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.growth import page as growth
from benchmarks.growth.carried import carried
from benchmarks.growth.figure import write_figure
from benchmarks.growth.fit import (
    STEPS,
    TERMS,
    Model,
    Quantity,
    Step,
    errors,
    fit,
    held_out_errors,
    observed,
    of_step,
    plain_of,
    ratio_errors,
)
from benchmarks.growth.measure import VARIANTS, measure_size
from benchmarks.growth.page import page, summary
from benchmarks.growth.plan import BASE, HELD_OUT, LARGE, LONG, PLACES, SHARED, Size, sizes
from benchmarks.growth.row import ExchangeRow, GrowthRow
from benchmarks.overhead.row import Machine
from benchmarks.repository import STORES, rows
from curvestep.bench.store import Store
from curvestep.steprules import Windows

ROOT = Path(__file__).resolve().parents[2]

#: A world in which the model is right: coefficients of each step, in the order of the terms. What a measured step needs
#: beside its plain one is more from step to step, and its own bytes are always the more.
TRUTH: dict[Quantity, dict[Step, tuple[float, ...]]] = {
    "products": {step: (36.0 * (1 + place), 7.0 * (1 + place), 3.0) for place, step in enumerate(STEPS)},
    "peak": {step: (80.0 + 400.0 * place, 4.0, 0.5, 1.0, 12.0, 0.0, 0.0) for place, step in enumerate(STEPS)},
    "seconds": {step: (1e-11 * (1 + place), 1e-11, 1e-9, 2e-9, 1e-4, 1e-3) for place, step in enumerate(STEPS)},
}


def true_models() -> dict[Quantity, dict[Step, Model]]:
    """The models of that world."""
    found: dict[Quantity, dict[Step, Model]] = {}
    for quantity, own in TRUTH.items():
        plain: dict[Step, Model] = {step: Model(quantity, step, own[step]) for step in ("sgd", "adamw")}
        found[quantity] = {
            **plain,
            **{step: Model(quantity, step, own[step], plain[plain_of(step)]) for step in VARIANTS},
        }
    return found


def world() -> list[GrowthRow]:
    """The rows of every size in that world."""
    models = true_models()
    found: list[GrowthRow] = []
    for size in sizes():
        for variant in VARIANTS:
            plain = plain_of(variant)
            times = [models["seconds"][step](size) for step in (plain, variant)]
            counts = [round(models["products"][step](size)) for step in (plain, variant)]
            peaks = [round(models["peak"][step](size)) for step in (plain, variant)]
            ratio = times[1] / times[0]
            found.append(
                GrowthRow(
                    "one", size.depth, size.width, size.length, size.batch, size.parameters, variant, 3, ratio, ratio,
                    ratio, times[0], times[1], counts[0], counts[1], peaks[0], peaks[1], "r",
                )
            )  # fmt: skip
    return found


def exchanges() -> list[ExchangeRow]:
    """Two processes, as if a block took ten gathers more of three bytes a parameter."""
    found: list[ExchangeRow] = []
    for sharing in ("ddp", "fully_shard"):
        for size in SHARED:
            n = size.parameters
            plain = ExchangeRow(
                sharing, size.depth, size.width, size.length, size.batch, n, "plain", 1, 4 * n, size.depth, 8 * n, 0, 0
            )
            more = replace(
                plain, step="whole", reduced=2, reduced_bytes=4 * n + 32, gathered=11 * size.depth + 6,
                gathered_bytes=11 * n,
            )  # fmt: skip
            found += [plain, more]
    return found


@pytest.mark.parametrize("size", [BASE, HELD_OUT[0], Size(1, 8, 4, 2, vocabulary=11)], ids=lambda size: size.name)
def test_the_number_of_parameters_is_that_of_the_network(size: Size) -> None:
    case = size.spec().network.build()
    assert sum(p.numel() for p in case.parameters()) == size.parameters


def test_the_large_models_have_the_size_of_their_names() -> None:
    small, large = (each.size.parameters for each in LARGE)
    assert small == pytest.approx(1e9, rel=0.1) and large == pytest.approx(1e11, rel=0.1)


def test_held_out_sizes_are_in_no_fit_and_reach_beyond_it() -> None:
    fitted = {place.size for place in PLACES}
    assert not fitted & set(HELD_OUT) and set(sizes()) == fitted | set(LONG) | set(HELD_OUT)
    assert max(size.parameters for size in HELD_OUT) > max(size.parameters for size in fitted)


def test_the_products_of_a_plain_step_are_those_of_its_layers(tmp_path: Path) -> None:
    """Per token and block 12 w² weights, each in three products; attention 2 T w forward and 5 backward; logits V w."""
    store: Store[GrowthRow] = rows(tmp_path, GrowthRow)
    size = Size(2, 16, 8, 4)
    said: list[str] = []
    threads = torch.get_num_threads()
    for _ in range(2):
        measure_size(size, "one", store, said.append, seconds=0.01, afresh=False)
    assert torch.get_num_threads() == threads and said[1] == f"{size.name}: in the store"
    found = {row.variant: row for row in store.read()}
    assert set(found) == set(VARIANTS) and all(row.pairs >= 3 for row in found.values())
    n, w, layers, length, kinds = size.tokens, size.width, size.depth, size.length, size.vocabulary
    counted = n * (36 * layers * w**2 + 7 * layers * length * w + 3 * kinds * w)
    assert {row.plain_products for row in found.values()} == {counted}
    # the whole batch measured takes two or three products a layer more; a quarter of it less than that
    assert counted < found["quarter"].products < found["whole"].products < found["split"].products < 3 * counted


def test_a_world_of_the_model_is_found_again() -> None:
    found = world()
    for quantity, own in true_models().items():
        for step, truth in own.items():
            model = fit(found, quantity, step)
            # whole numbers of products and bytes, and the solver's tolerance
            for size in (*sizes(), LARGE[0].size):
                assert model(size) == pytest.approx(truth(size), rel=1e-3), (quantity, step, size)
            for fitted in (True, False):
                error = held_out_errors(found, model, step, fitted=fitted)
                assert error is not None and error.worst < 1e-3
    models: dict[Step, Model] = {step: fit(found, "seconds", step) for step in STEPS}
    error = ratio_errors(found, models, "quarter-split", fitted=False)
    assert error is not None and error.worst < 1e-3


def test_held_out_sizes_change_no_coefficient() -> None:
    found = world()
    odd = [replace(row, seconds=9.0, peak=1, products=1) if row.size in HELD_OUT else row for row in found]
    for quantity in TERMS:
        assert fit(odd, quantity, "whole") == fit(found, quantity, "whole")
    error = held_out_errors(odd, fit(found, "seconds", "whole"), "whole")
    assert error is not None and error.worst > 0.5
    assert errors([2.0, 1.0], [1.0, 1.0]).worst == 1.0


def test_what_is_carried_follows_from_the_model() -> None:
    models = true_models()
    text = "\n".join(carried(models, exchanges()))
    # "whole" is the third step: beside the plain one it takes three times as many products, but for the logits
    size = LARGE[1].size
    ratio = models["products"]["whole"](size) / models["products"]["sgd"](size)
    assert f"| {ratio:.2f} |" in text and ratio == pytest.approx(4.0, rel=1e-2)
    both = models["products"]["quarter-split"](size) / models["products"]["sgd"](size)
    assert f"| {both:.2f} |\n" in text
    assert text.count("takes 1 all-reduce of 32 bytes more than a plain one") == 2
    assert f"in {10 * 96 + 6:,} gathers of single tensors (10 a block)" in text
    assert "It gathers 3.00 bytes a parameter more (the plain step 8.00)" in text
    assert not any("second" in line and "No seconds" not in line for line in text.split("\n"))


def test_bytes_of_shards_divide_what_grows_with_the_parameters() -> None:
    only: dict[Quantity, dict[Step, Model]] = {
        quantity: {step: Model(quantity, step, (1.0,) + (0.0,) * (len(terms) - 1)) for step in STEPS}
        for quantity, terms in TERMS.items()
    }
    only["peak"] = {step: Model("peak", step, (0.0,) * (len(TERMS["peak"]) - 1) + (4.0,)) for step in STEPS}
    lines = carried(only, ())
    (line,) = [line for line in lines if line.startswith("| 10¹¹") and "GB" in line]
    assert f"| {4 * LARGE[1].size.parameters / 1024 / 1e9:,.0f} GB |" in line


def test_observed_and_steps() -> None:
    row = next(row for row in world() if row.variant == "quarter-split")
    assert of_step([row], "adamw") == [row] == of_step([row], "quarter-split") and not of_step([row], "sgd")
    assert (
        observed(row, "seconds", "adamw") == row.plain_seconds
        and observed(row, "seconds", "quarter-split") == row.seconds
    )
    assert math.isclose(row.median, row.seconds / row.plain_seconds)


def test_the_page_says_how_often_auto_measures() -> None:
    few, many = (Windows().ends_within(calls) for calls in (1_000, 10_000))
    assert f"{few} of the first 1,000 calls of `step` and {many} of the first 10,000" in page([], (), (), "")
    text = "\n".join(carried(true_models(), ()))
    assert f"1 + {few} (w − 1) / 1,000 times" in text and f"1 + {many} (w − 1) / 10,000 times" in text


def test_page_and_figure_with_nothing_and_with_everything(tmp_path: Path) -> None:
    whole = world()
    for found in ([], whole):
        text = page(found, exchanges() if found else [], (), "figures/growth.png")
        assert ("Not enough sizes" in text) is not found
        assert ("## Carried to 10⁹ and 10¹¹ parameters" in text) is bool(found)
        assert bool(summary(found, ())) and ("Not enough sizes" in summary(found, ())[0]) is not found
        drawn = write_figure(found, tmp_path / "growth")
        assert [path.name for path in drawn] == ["growth.png", "growth.svg"] and all(path.exists() for path in drawn)
    assert "0.0 %, 0.0 %" in page(whole, (), (), "")


def test_the_committed_page_is_that_of_its_rows() -> None:
    folder = STORES / "growth"
    held = rows(folder, GrowthRow).read()
    counted = Store(folder / "exchanges.jsonl", ExchangeRow).read()
    text = growth.page(held, counted, Store(folder / "machines.jsonl", Machine).read(), "figures/growth.png")
    assert (ROOT / "docs" / "growth.md").read_text(encoding="utf-8") == text
    assert (ROOT / "docs" / "figures" / "growth.svg").exists()
