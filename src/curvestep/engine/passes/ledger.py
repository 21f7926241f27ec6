"""Where second-order terms end: paired with cotangents, row by row where the rows are the samples."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from curvestep.engine.data.curvature import Curvature, Form
from curvestep.engine.data.part import Part
from curvestep.engine.data.samples import Marker, SampleAxis, paired_rows
from curvestep.engine.data.value import Node, Value
from curvestep.engine.passes.analysis import Plan


@final
class Ledger:
    """Decides where a term is paired with its cotangent, and sums what was paired.

    | form | a term is paired | exact per sample |
    |---|---|---|
    | "tangent" | at once, where it arises (Algorithm 2) | where no operation mixes samples |
    | "taylor" | at the loss, carried there (equation 21) | wherever the loss is a sum over samples |
    | "auto" | at the first value whose rows stay apart | as "taylor", at nearly the cost of "tangent" |

    A whole batch that is not split takes "auto" as "tangent", and a part of one takes "tangent" as "auto".
    """

    def __init__(self, plan: Plan, root: Value, *, form: Form, per_sample: bool, share: float = 1.0) -> None:
        self.plan = plan
        self.grown = 1.0 / share  # cotangents are of the mean over the batch, of which the plan has this share
        self.root = root
        self.per_sample = per_sample and plan.batch is not None
        if share != 1.0 and not plan.apart and form == "tangent":
            form = "auto"  # above the samples a term would meet the cotangent of the whole batch
        elif form == "auto" and share == 1.0 and not (self.per_sample and plan.separable):
            form = "tangent"
        self.form = form
        self.exact = plan.separable if form != "tangent" else plan.apart
        self._rows: Tensor | None = None
        self._shared: Tensor | None = None
        self._carried = False

    def _open(self, value: Value) -> bool:
        """Whether terms are paired at this value."""
        if value.slot is None:
            return False
        # A backward that was asked for some gradients alone leaves none at what these do not need, and a view that is
        # written in place later has its own in its base: such terms are carried to where there is one.
        if not value.slot.kept or value.slot.cotangent is None:
            self._carried = True
            return False
        if self.form == "tangent":
            return True
        if value not in self.plan.clean:
            self._carried = True
            return False
        if self.form == "auto":
            return True
        self._carried = True
        return self.plan.axes.get(value) is Marker.SUMMED

    def take(self, node: Node, value: Value, term: Tensor) -> bool:
        """Pair a second-order term with its cotangent if that is due here; False: carry it on."""
        opened = self._open(value)
        if (
            (opened or value in self.plan.clean)
            and self.plan.axes.get(value) is Marker.SUMMED
            and any(isinstance(self.plan.axes.get(v), SampleAxis) for v in node.inputs)
        ):
            self.exact = False  # the sum over samples was taken before the term could be split
        if not opened:
            return False
        assert value.cotangent is not None
        self._pair(value.cotangent, term, value, own=True)
        return True

    def take_spread(self, node: Node, value: Value, terms: Tensor, like: Value) -> bool:
        """Pair the terms of a reduced loss with the cotangent of its scalar, before they are summed."""
        if not isinstance(self.plan.axes.get(like), SampleAxis):  # samples may have come in by another argument
            axes = self.plan.axes
            there = (v for v in node.inputs if v.shape == terms.shape)
            like = next((v for v in there if isinstance(axes.get(v), SampleAxis)), like)
        if not self._open(value):
            if value.slot is None or value.slot.cotangent is None:
                self.exact = False  # they are summed over the samples here
            return False
        assert value.cotangent is not None
        self._pair(value.cotangent, terms, like)
        return True

    def _pair(self, cotangent: Tensor, terms: Tensor, value: Value, *, own: bool = False) -> None:
        """Sum ⟨x̂, ÿ⟩ over what belongs to a sample, where the terms lie as `value` does; else over all.

        `own`: paired with the value's own cotangent, not with one behind a sum over the samples.
        """
        axis = self.plan.axes.get(value)
        if self.plan.batch is not None and isinstance(axis, SampleAxis) and terms.shape == value.shape:
            cotangent = cotangent if cotangent.shape == terms.shape else cotangent.expand_as(terms)
            found = paired_rows(*_alike(cotangent, terms), axis, self.plan.batch)
            if own and self.grown != 1.0:
                found *= self.grown
            self._rows = found if self._rows is None else self._rows + found
        else:
            cotangent, terms = _alike(cotangent, terms)
            found = (cotangent * terms).sum()
            self._shared = found if self._shared is None else self._shared + found

    def close(self, slope: Tensor | None, carried: Tensor | None, part: Part | None = None) -> Curvature:
        """Pair what was carried to the root and sum up; `part` is what the plan is of, None for the whole batch."""
        cotangent = self.root.cotangent
        assert self.root.data is not None and cotangent is not None
        zero = torch.zeros((), dtype=self.root.data.dtype, device=self.root.data.device)
        if carried is not None:
            self._pair(cotangent, carried, self.root)
        shared = zero if self._shared is None else self._shared
        total = shared if self._rows is None else self._rows.sum() + shared
        each: Tensor | None = None
        if self.per_sample and self.plan.batch is not None:
            batch = self.plan.batch
            # J is the mean over the samples, so a row is a B-th of that sample's second derivative; what belongs to
            # no sample (a penalty on weights) belongs to each of them whole.
            each = shared.expand(batch).clone() if self._rows is None else batch * self._rows + shared
        source = "tangent+taylor" if self._carried and self.form != "taylor" else self.form
        return Curvature(
            total=total,
            slope=zero if slope is None else (cotangent * slope).sum(),
            per_sample=each,
            per_sample_exact=each is not None and (self.exact or self.plan.alone),
            source="tangent" if source == "auto" else source,
            samples=self.plan.batch,
            batch_size=self.plan.batch if part is None else part.batch,
            part=part,
            samples_guessed=self.plan.guessed,
        )


def _alike(cotangent: Tensor, terms: Tensor) -> tuple[Tensor, Tensor]:
    """Both as real numbers of one dtype in which long sums may be formed."""
    dtype = cotangent.dtype
    if dtype is terms.dtype and (dtype is torch.float32 or dtype is torch.float64):
        return cotangent, terms
    wide = torch.promote_types(dtype, terms.dtype)
    if wide.is_complex:  # autograd's cotangent of a complex tensor is the conjugate one
        cotangent, terms = (torch.view_as_real(t.to(wide).resolve_conj()) for t in (cotangent, terms))
        return cotangent, terms
    wide = torch.float32 if wide in (torch.float16, torch.bfloat16) else wide
    return cotangent.to(wide), terms.to(wide)
