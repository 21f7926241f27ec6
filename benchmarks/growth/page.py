"""The page of the growth, from the rows alone."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.growth.carried import carried
from benchmarks.growth.fit import (
    STEPS,
    TERMS,
    Errors,
    Model,
    Quantity,
    Step,
    fit,
    held_out_errors,
    ratio_errors,
)
from benchmarks.growth.plan import AXES, HELD_OUT, LONG, PLACES, Axis, Size, Variant
from benchmarks.growth.row import ExchangeRow, GrowthRow
from benchmarks.overhead.row import Machine

VARIANTS: dict[Variant, str] = {
    "whole": "RescaledSGD",
    "quarter": "RescaledSGD, ¼ of the samples",
    "split": "RescaledSGD, memory split",
    "quarter-split": "Adam's direction, ¼ of the samples, split",
}
_STEPS: dict[Step, str] = {"sgd": "SGD", "adamw": "AdamW", **VARIANTS}
_AXES = {"width": "width", "depth": "blocks", "batch": "batch", "length": "length", "all": "parameters, all growing"}
_FORMULAS: dict[Quantity, str] = {
    "products": "multiply-adds",
    "peak": "bytes allocated at once",
    "seconds": "CPU time",
}


def page(rows: Sequence[GrowthRow], exchanges: Sequence[ExchangeRow], machines: Sequence[Machine], figure: str) -> str:
    """The document.

    Args:
        rows: of one machine.
        exchanges: what processes exchange.
        machines: of the rows.
        figure: its path as seen from the page.

    Returns:
        Markdown.
    """
    out = [
        "# How the cost of a measured step grows",
        "",
        "A whole step (forward, backward, measurement, update) over the plain step along the same direction: "
        "`RescaledSGD` over SGD, and with a quarter of the samples, and with memory split; both at once along "
        "Adam's direction, over AdamW (`CeilingAdam`, on a step that measures). A GPT is varied around 4 blocks of "
        "width 128, 8 sequences of 64 characters; **all** lets width, depth and parameters grow together while the "
        "batch shrinks, at last to one sequence, a quarter of which is all of it. Times are CPU times of one thread, "
        "medians of ratios in interleaved rounds; products and peaks are counted by torch's profiler. "
        "`python -m benchmarks growth` measures what is missing and writes this page from the rows in "
        "`benchmarks/stores/growth`; [overhead](overhead.md) has other networks and whole runs.",
        "",
        "`Auto` takes none of these steps. It measures at the ends of its windows, 8 of the first 1,000 calls of "
        "`step` and 16 of the first 10,000: a pass along E with the forward computed again, and two forwards, before "
        "the step ([long.md](long.md#what-it-costs)). "
        "[overhead](overhead.md#the-default) has the time of such an end over that of a plain step.",
        "",
        f"![ratios by size, and the model on sizes that it has not seen]({figure})",
        "",
        "## Measured",
        "",
        *_measured(rows),
        "## The model",
        "",
    ]
    if not _fits(rows):
        return "\n".join([*out, "Not enough sizes are measured yet to fit it.", ""])
    models = _fitted(rows)
    out += [*_models(rows, models), *_errors(rows, models), *_exchanges(exchanges)]
    out += carried(models, exchanges)
    out += [_made(rows, machines), ""]
    return "\n".join(out)


def summary(rows: Sequence[GrowthRow], exchanges: Sequence[ExchangeRow]) -> list[str]:
    """What a reader with a large model needs.

    Args:
        rows: of one machine.
        exchanges: what processes exchange.

    Returns:
        Lines of Markdown: ratios where everything grows, and what the models say of larger ones.
    """
    if not _fits(rows):
        return ["Not enough sizes are measured yet to fit a model."]
    models = _fitted(rows)
    return [
        "A whole step over the plain one, of GPTs that grow in width and depth while the batch shrinks, at last to one "
        "sequence, a quarter of which is all of it:",
        "",
        *_measured(rows, ("all",)),
        "Products, bytes and times are fitted by sums of terms in the sizes of the network.",
        "",
        *_errors(rows, models),
        *(f"#{line}" if line.startswith("#") else line for line in carried(models, exchanges)),
    ][:-1]


def _fitted(rows: Sequence[GrowthRow]) -> dict[Quantity, dict[Step, Model]]:
    """All models."""
    return {quantity: {step: fit(rows, quantity, step) for step in STEPS} for quantity in TERMS}


def _fits(rows: Sequence[GrowthRow]) -> bool:
    """Whether every size of the fit is there."""
    return {*(place.size for place in PLACES), *LONG} <= {row.size for row in rows}


def _measured(rows: Sequence[GrowthRow], wanted: Sequence[Axis] = AXES) -> list[str]:
    """A table an axis: ratios of times, products and peaks."""
    found = {(row.size, row.variant): row for row in rows}
    out: list[str] = []
    for axis in wanted:
        places = [place for place in PLACES if place.axis == axis and (place.size, "whole") in found]
        if not places:
            continue
        values = " | ".join(f"{place.value:,}" for place in places)
        out += [f"| {_AXES[axis]} | {values} |", f"|---|{'--:|' * len(places)}"]
        for name, column in (("time", "median"), ("products", "products"), ("peak", "peak")):
            for variant, text in VARIANTS.items():
                cells = [f"{_ratio(found[place.size, variant], column):.2f}" for place in places]
                out.append(f"| {text}: {name} | {' | '.join(cells)} |")
        out.append("")
    return out


def _ratio(row: GrowthRow, column: str) -> float:
    """Of times, products or peaks."""
    if column == "median":
        return row.median
    return row.products / row.plain_products if column == "products" else row.peak / row.plain_peak


def _models(rows: Sequence[GrowthRow], models: dict[Quantity, dict[Step, Model]]) -> list[str]:
    """The formulas with their coefficients."""
    fitted = len({row.size for row in rows} - set(HELD_OUT))
    out = [
        "With B sequences of T tokens, n = B T, L blocks of width w with h heads, V kinds of token and N parameters, "
        "each quantity of a plain step is a sum of terms with t = n; of bytes, which are those of its activations, or "
        "of all gradients, 4 N, where these are more. A measured step has products and time of its plain step and, "
        "beside, a sum of terms with t = m, the tokens of the sequences that it measures; of bytes the larger one of "
        "its own and of the plain step's peak. Coefficients are fitted by least squares of the relative errors to "
        f"{fitted} sizes and not below 0; products of measured steps where w and m are at least 128, because below a "
        "layer takes three products instead of two. **Products** and **bytes** have their natural unit. Of the "
        "**time** only ratios carry over to another machine, so its coefficients are in multiply-adds: what a term "
        "costs over what a product of a layer of the plain step of SGD costs.",
        "",
    ]
    for quantity, terms in TERMS.items():
        unit = models["seconds"]["sgd"].coefficients[0] if quantity == "seconds" else 1.0
        out += [f"| {_FORMULAS[quantity]} | {' | '.join(term.text for term in terms)} |"]
        out += [f"|---|{'--:|' * len(terms)}"]
        for step, model in models[quantity].items():
            cells = [_coefficient(c / unit) for c in model.coefficients]
            out.append(f"| {_STEPS[step]}{', beside' if model.plain else ''} | {' | '.join(cells)} |")
        out.append("")
    return out


def _coefficient(value: float) -> str:
    """Three digits; thousands in full."""
    return "0" if value == 0.0 else f"{value:,.0f}" if value >= 1000.0 else f"{value:.3g}"


def _errors(rows: Sequence[GrowthRow], models: dict[Quantity, dict[Step, Model]]) -> list[str]:
    """How far each model is off, on its own sizes and on others."""
    held = [size for size in HELD_OUT if any(row.size == size for row in rows)]
    out = [
        f"Its error is tried on {len(held)} sizes that no coefficient has seen, some of them larger than any that has: "
        f"{'; '.join(f'{size.name} ({size.parameters / 1e6:.1f} million parameters)' for size in held)}. Median and "
        "largest relative error:",
        "",
        "| | products: fitted sizes | held out | bytes: fitted sizes | held out | ratio of times: fitted sizes "
        "| held out |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for step, text in _STEPS.items():
        cells: list[str] = []
        for quantity in ("products", "peak"):
            for fitted in (True, False):
                cells.append(_error(held_out_errors(rows, models[quantity][step], step, fitted=fitted)))
        for fitted in (True, False):
            if step in ("sgd", "adamw"):
                cells.append("–")
            else:
                cells.append(_error(ratio_errors(rows, models["seconds"], step, fitted=fitted)))
        out.append(f"| {text} | {' | '.join(cells)} |")
    out.append("")
    return out


def _error(found: Errors | None) -> str:
    """Median and largest."""
    return "–" if found is None else f"{100 * found.median:.1f} %, {100 * found.worst:.1f} %"


def _exchanges(exchanges: Sequence[ExchangeRow]) -> list[str]:
    """What two processes exchange."""
    out = ["## Between processes", ""]
    if not exchanges:
        return [*out, "Not counted yet.", ""]
    out += [
        "Counted in two processes with gloo, in one step; a step that measures nothing exchanges what a plain one "
        "does. Bytes are those of one process, of gathered tensors all parts.",
        "",
        "| model | parameters | step | all-reduces | bytes | all-gathers | bytes | reduce-scatters | bytes |",
        "|---|--:|---|--:|--:|--:|--:|--:|--:|",
    ]
    names = {"plain": "SGD", "whole": "RescaledSGD", "quarter-split": "¼, split, Adam's direction"}
    sharings = {"ddp": "copies (DDP)", "fully_shard": "shards (fully_shard)"}
    for row in exchanges:
        cells = [f"{sharings[row.sharing]}, {row.depth}×{row.width}", f"{row.parameters:,}", names[row.step]]
        for kind in ("reduced", "gathered", "scattered"):
            cells += [str(getattr(row, kind)), f"{getattr(row, f'{kind}_bytes'):,}"]
        out.append(f"| {' | '.join(cells)} |")
    return [*out, ""]


def _made(rows: Sequence[GrowthRow], machines: Sequence[Machine]) -> str:
    """Where and with what."""
    used = {row.machine for row in rows}
    places = "; ".join(f"{m.machine}, torch {m.environment['torch']}" for m in machines if m.machine in used)
    revisions = sorted({(row.revision or "no revision")[:10] for row in rows})
    sizes: set[Size] = {row.size for row in rows}
    return f"{len(sizes)} sizes on {places}; revision{'s' if len(revisions) > 1 else ''} {', '.join(revisions)}."
