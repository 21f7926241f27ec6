"""What `curvestep.doctor` found, and its page of plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

from curvestep._records import Outcome
from curvestep.diagnostics.findings import Coverage, Measurement, Operation, Parameters, Products, Samples, Suggestion

WIDTH = 80
_SHOWN_NAMES = 5
_NO_RULE = (
    "For an operation of torch without a rule: curvestep.register_rule teaches a formula made of ordinary operations; "
    "LQA and GeN do without, since they measure losses alone."
)


@final
@dataclass(frozen=True)
class Diagnosis:
    """What `curvestep.doctor` found; `str()` of it is a page of text.

    Attributes:
        loss: the loss on the example batch.
        operations: the operations between the parameters and the loss, missing ones first, then by count.
        refusal: the sentence with which the curvature pass refused, None where it ran.
        samples: the batch.
        parameters: the parameters.
        products: what a step costs in matrix products; None where an operation is missing.
        measurement: what a step costs in time and memory; None where an operation is missing or it was not asked for.
        suggestions: the steps that would be taken right now; empty where an operation is missing.
        notes: sentences on what to know besides.
    """

    loss: float
    operations: tuple[Operation, ...]
    refusal: str | None
    samples: Samples
    parameters: Parameters
    products: Products | None
    measurement: Measurement | None
    suggestions: tuple[Suggestion, ...]
    notes: tuple[str, ...]

    @property
    def covered(self) -> bool:
        """Whether the curvature of this loss can be measured exactly."""
        return self.refusal is None and not self.missing

    @property
    def missing(self) -> tuple[Operation, ...]:
        """The operations without a rule."""
        return tuple(op for op in self.operations if op.coverage is Coverage.MISSING)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain dictionaries, lists, numbers and strings."""
        found = asdict(self)
        for op in found["operations"]:
            op["coverage"] = op["coverage"].value
        found["covered"] = self.covered
        if self.products is not None:
            found["products"]["ratio"] = self.products.ratio
        if self.measurement is not None:
            found["measurement"]["auto_ratio"] = self.measurement.auto_ratio
            found["measurement"]["time_ratio"] = self.measurement.time_ratio
            found["measurement"]["memory_ratio"] = self.measurement.memory_ratio
        return found

    def __str__(self) -> str:
        """Return the page of text."""
        return page(self)


# -- the page ----------------------------------------------------------------------------------------------------------


def verdict(found: Diagnosis) -> str:
    """The answer in one sentence."""
    kinds = len(found.operations)
    count = sum(op.count for op in found.operations)
    if found.covered:
        parts = [op for op in found.operations if op.coverage is Coverage.DECOMPOSED]
        by = f", {len(parts)} of them by decomposition" if parts else ""
        return f"Covered: all {kinds} kinds of operation ({count} in all) have a rule{by}."
    if found.missing:
        names = ", ".join(op.name for op in found.missing)
        return f"Not covered: {len(found.missing)} of {kinds} kinds of operation have no rule: {names}."
    return "Not covered: a rule refuses the setting in which its operation was run."


def sample_sentences(samples: Samples) -> str:
    """The batch in words."""
    if samples.batch_size is None:
        return "No batch size found."
    split = "exact" if samples.exact else "not exact"
    text = f"{samples.batch_size} samples: {samples.found}."
    return text if samples.form is None else f"{text} Split over the samples: {split}, by the {samples.form} pass."


def parameter_sentences(parameters: Parameters) -> list[str]:
    """The parameters in words."""
    text = [f"{parameters.tensors} tensors with {parameters.elements:,} numbers on a path to the loss."]
    if parameters.frozen:
        text.append(f"Frozen: {_listed(parameters.frozen)}.")
    if parameters.unreached:
        text.append(f"No path to the loss: {_listed(parameters.unreached)}.")
    return text


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN_NAMES])
    rest = len(names) - _SHOWN_NAMES
    return shown if rest <= 0 else f"{shown} and {rest} more"


def product_sentence(products: Products) -> str:
    """The products in words."""
    text = (
        f"Matrix products and convolutions: {products.forward} forward, {products.gradient} backward, "
        f"{products.tangent} to measure"
    )
    if products.uncounted:
        return f"{text}; those inside {_listed([short(name) for name in products.uncounted])} are not counted."
    return f"{text}." if products.ratio is None else f"{text}; in multiply-adds {products.ratio:.2f} × a plain step."


def measurement_sentences(measured: Measurement) -> list[str]:
    """Time and memory in words."""
    text = [
        f"Time, medians of {measured.repetitions} steps; a plain one takes {seconds(measured.plain_seconds)}.",
        _auto_cost(measured),
        f"RescaledSGD, which measures every step: {measured.time_ratio:.2f} ×, {seconds(measured.measured_seconds)}.",
    ]
    peaks = {"RescaledSGD": measured.measured_bytes, "a plain step": measured.plain_bytes}
    if measured.auto_refusal is None:
        peaks = {"Auto": measured.auto_bytes, **peaks}
    if all(peaks.values()):
        text.append("Peak memory: " + ", ".join(f"{name} {size(peak)}" for name, peak in peaks.items() if peak) + ".")
    return text


def _auto_cost(measured: Measurement) -> str:
    if measured.auto_seconds is None:
        return f"Auto cannot train this: {measured.auto_refusal}"
    return (
        f"Auto: {measured.auto_ratio:.2f} × a plain step in a run of 1,000, since one call in {measured.auto_every} "
        f"ends a window, and takes {seconds(measured.auto_seconds)}; in a longer run fewer do."
    )


def auto_sentences(found: Diagnosis) -> list[str]:
    """What Auto makes of the suggested steps; nothing where it is known to refuse this loss."""
    if found.measurement is not None and found.measurement.auto_refusal is not None:
        return []
    return [
        "Auto begins with 0.07 of the weights' typical size, guarded by RescaledAdam's step at ℓ = ½, and measures "
        "the scale of its steps anew at the end of each window of steps."
    ]


def advice_sentences(found: Diagnosis) -> list[str]:
    """What to do about the operations without a rule."""
    return list(dict.fromkeys(op.advice or _NO_RULE for op in found.missing))


def seconds(value: float) -> str:
    """A time with three digits: 12.3 ms, 1.23 s."""
    return f"{value:.3g} s" if value >= 1.0 else f"{1000 * value:.3g} ms"


def size(count: int) -> str:
    """A number of bytes with three digits: 12.3 MiB."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count / 1024:.3g} KiB"


def short(name: str) -> str:
    """An operation's name without the overload that nearly all have."""
    return name.removesuffix(".default")


def mark(op: Operation) -> str:
    """What is special about an operation, in few words; empty for most."""
    return ", ".join(word for word, holds in (("couples samples", op.couples), ("kinks", op.kinks)) if holds)


def page(found: Diagnosis) -> str:
    """The whole page, at most eighty columns wide."""
    lines = [*_wrapped(verdict(found)), *(_wrapped(found.refusal) if found.refusal and not found.missing else [])]
    lines += ["", "Operations between the parameters and the loss"]
    width = max((len(short(op.name)) for op in found.operations), default=0)
    for op in found.operations:
        lines.append(f"  {op.count:5d}  {short(op.name):<{width}}  {op.coverage.value:<13}  {mark(op)}".rstrip())
        if op.path is not None:
            lines += _wrapped(op.path, "         ")
    if found.missing:
        lines += ["", "What to do", *(line for text in advice_sentences(found) for line in _wrapped(text, "  "))]
    lines += ["", "Batch", *_wrapped(sample_sentences(found.samples), "  ")]
    lines += [
        "",
        "Parameters",
        *(line for text in parameter_sentences(found.parameters) for line in _wrapped(text, "  ")),
    ]
    if found.products is not None:
        cost = [product_sentence(found.products)]
        cost += [] if found.measurement is None else measurement_sentences(found.measurement)
        lines += ["", "Cost of a measured step", *(line for text in cost for line in _wrapped(text, "  "))]
    if found.suggestions:
        lines += ["", f"Step size right now, at loss {found.loss:.4g}"]
        lines += [*_suggestions(found), *(line for text in auto_sentences(found) for line in _wrapped(text, "  "))]
    if found.notes:
        lines += ["", "Notes", *(line for text in found.notes for line in _wrapped(text, "  "))]
    return "\n".join(lines)


def _suggestions(found: Diagnosis) -> list[str]:
    levels = list(dict.fromkeys(each.ell for each in found.suggestions))
    lines = ["  " + " " * 16 + "".join(f"{f'ℓ = {ell:g}':>14}" for ell in levels)]
    for name in dict.fromkeys(each.optimizer for each in found.suggestions):
        row = {each.ell: each for each in found.suggestions if each.optimizer == name}
        lines.append(f"  {name:<16}" + "".join(f"{row[ell].step_size:>14.4g}" for ell in levels))
        for text in unusual(found, name):
            lines += _wrapped(text, "    ")
    return lines


def unusual(found: Diagnosis, optimizer: str) -> list[str]:
    """Outcomes of an optimizer's suggestions other than a plain step, each once with its levels."""
    outcomes: dict[str, list[str]] = {}
    for each in found.suggestions:
        if each.optimizer == optimizer and each.outcome != Outcome.TAKEN.value:
            outcomes.setdefault(each.outcome, []).append(f"{each.ell:g}")
    return [f"ℓ = {' and '.join(levels)}: {text}" for text, levels in outcomes.items()]


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
