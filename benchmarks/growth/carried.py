"""What the models say of sizes that no machine here holds, on many devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.growth.fit import Model, Quantity, Step, gradients
from benchmarks.growth.plan import LARGE, Large, Sharing
from benchmarks.growth.row import ExchangeRow

_STEPS: dict[Step, str] = {
    "whole": "RescaledSGD",
    "quarter": "¼ of the samples",
    "split": "memory split",
    "quarter-split": "¼, split, Adam's direction",
}


def carried(models: Mapping[Quantity, Mapping[Step, Model]], exchanges: Sequence[ExchangeRow]) -> list[str]:
    """The section on large models.

    Args:
        models: fitted.
        exchanges: counted.

    Returns:
        Lines of Markdown.
    """
    out = [
        "## Carried to 10⁹ and 10¹¹ parameters",
        "",
        "Computed, not measured. Products follow from the formula above, whose terms are those of the network. Bytes "
        "are those that a step allocates: activations and gradients in float32, and what the measurement needs; "
        "parameters and the state of the optimizer come on top. Exchanges follow from the counts. No seconds are "
        "given: a ratio of products is what a ratio of times tends to where products are most of a step, as they are "
        "at these widths, but kernels, caches and links decide the rest. Sequences of 2,048 tokens are eight times as "
        "long as the longest that was measured. With activations in 16 bits halve their bytes.",
        "",
        "| model | on one device | devices | products of a plain step | "
        + " | ".join(f"{text}: ratio" for text in _STEPS.values())
        + " |",
        f"|---|---|--:|--:|{'--:|' * len(_STEPS)}",
    ]
    for large in LARGE:
        size = large.size
        plain = models["products"]["sgd"](size)
        ratios = {step: models["products"][step](size) / plain for step in _STEPS}
        cells = [_name(large), f"B{size.batch}, T{size.length}", f"{large.devices:,}", f"{plain:.2g} a device"]
        cells += [f"{ratios[step]:.2f}" for step in _STEPS]
        out.append(f"| {' | '.join(cells)} |")
    out += [
        "",
        "| bytes of one device at the peak of a step | plain | RescaledSGD | memory split "
        f"| {_STEPS['quarter-split']} |",
        "|---|--:|--:|--:|--:|",
    ]
    for large in LARGE:
        share = 1.0 / large.devices if large.sharing == "fully_shard" else 1.0
        cells = [_peak(models["peak"][step], large, share) for step in ("sgd", "whole", "split", "quarter-split")]
        out.append(f"| {_name(large)} | {' | '.join(cells)} |")
    out += [
        "",
        *_exchanged(exchanges),
        "**`Auto`** takes plain steps but at the ends of its windows: 8 of the first 1,000 calls of `step`, 16 of the "
        "first 10,000. With an end as long as w plain steps, the first 1,000 calls take 1 + 8 (w − 1) / 1,000 times "
        "as long as plain steps and the first 10,000 take 1 + 16 (w − 1) / 10,000 times as long. "
        "[overhead](overhead.md#the-default) has w for smaller networks; no model here carries it further.",
        "",
    ]
    return out


def _name(large: Large) -> str:
    """The number of parameters and how they are held."""
    size = large.size
    held = "a copy each" if large.sharing == "ddp" else "a shard each"
    return f"{large.name}: {size.depth}×{size.width}, {size.parameters / 1e9:.3g}·10⁹ parameters, {held}"


def _peak(model: Model, large: Large, share: float) -> str:
    """Gigabytes; what grows with the parameters is divided among devices that hold shards."""
    sums = [share * gradients(large.size)]
    sums += [
        each.own(large.size) - each.coefficients[-1] * large.size.parameters * (1.0 - share)
        for each in (model, model.plain)
        if each is not None
    ]
    return f"{max(sums) / 1e9:,.0f} GB"


def _exchanged(exchanges: Sequence[ExchangeRow]) -> list[str]:
    """What a measured step exchanges beyond a plain one."""
    out: list[str] = []
    for large in LARGE:
        extra = _extra(exchanges, large.sharing)
        if extra is None:
            continue
        reduced, reduced_bytes, gathered_a_parameter, gathers = extra
        text = (
            f"**{large.name} on {large.devices:,} devices**: a measured step of `RescaledSGD` takes {reduced} "
            f"all-reduce{'' if reduced == 1 else 's'} of {reduced_bytes} bytes more than a plain one, whatever the "
            "size."
        )
        if large.sharing == "fully_shard":
            slope, first = gathers
            count = slope * large.size.depth + first
            text += (
                f" It gathers {gathered_a_parameter:.2f} bytes a parameter more (the plain step "
                f"{_plain_gathered(exchanges):.2f}): {gathered_a_parameter * large.size.parameters / 1e9:,.0f} GB to "
                f"each device in float32, in {count:,.0f} gathers of single tensors ({slope:.0f} a block), where the "
                f"plain step gathers a block at a time."
            )
        out += [text, ""]
    return out


def _extra(exchanges: Sequence[ExchangeRow], sharing: Sharing) -> tuple[int, int, float, tuple[float, float]] | None:
    """All-reduces and bytes more, gathered bytes a parameter more, and gathers more: a block, and besides."""
    pairs = [
        (plain, row)
        for row in exchanges
        for plain in exchanges
        if row.sharing == plain.sharing == sharing
        and (row.step, plain.step) == ("whole", "plain")
        and (row.depth, row.width) == (plain.depth, plain.width)
    ]
    if len(pairs) < 2:
        return None
    plain, row = pairs[-1]
    more = {(r.depth, r.width): r.gathered - p.gathered for p, r in pairs}
    own = sorted((depth, count) for (depth, width), count in more.items() if width == _width(pairs))
    (shallow, a), (deep, b) = own[:2]
    slope = (b - a) / (deep - shallow)
    return (
        row.reduced - plain.reduced,
        row.reduced_bytes - plain.reduced_bytes,
        (row.gathered_bytes - plain.gathered_bytes) / row.parameters,
        (slope, a - slope * shallow),
    )


def _width(pairs: Sequence[tuple[ExchangeRow, ExchangeRow]]) -> int:
    """The width of which there are two depths."""
    widths = [row.width for _, row in pairs]
    return max(widths, key=widths.count)


def _plain_gathered(exchanges: Sequence[ExchangeRow]) -> float:
    """Gathered bytes a parameter of the plain step of the widest model that was counted."""
    rows = [row for row in exchanges if row.sharing == "fully_shard" and row.step == "plain"]
    widest = max(rows, key=lambda row: row.parameters)
    return widest.gathered_bytes / widest.parameters
