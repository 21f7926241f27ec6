"""What a pass over the tape found along one direction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, final

import torch
from torch import Tensor

from curvestep.engine.data.part import Part

#: Where second-order terms meet cotangents, see `curvestep.engine.passes.ledger.Ledger`.
Form = Literal["auto", "tangent", "taylor"]

#: Which second derivative: of the loss, or of its last part alone along the first derivative of the network.
Order = Literal["exact", "ggn"]

#: In which dtypes a pass works, see `curvestep.engine.passes.precision`.
Precision = Literal["recorded", "float64", "float32", "bfloat16", "tf32"]


@final
@dataclass(frozen=True, slots=True)
class Curvature:
    """First and second directional derivative of a recorded loss J = (1/B) Σ_s J_s.

    Attributes:
        total: ⟨∇²J d, d⟩, shape ().
        slope: ⟨∇J, d⟩, shape ().
        per_sample: ⟨∇²J_s d, d⟩, shape (B,), mean equals `total`; None where it was not asked for or no sample axis
            could be found.
        per_sample_exact: whether the recorded operations show that each entry is that sample's own second derivative.
            False where samples interact in a way that cannot be separated, where their axis is lost, or where it is
            open which axis it is; the mean is exact all the same.
        samples_guessed: whether the number of samples was read off the first axis of the data. Where the samples lie
            along another one, state `batch_size`.
        source: which pass made it: "tangent" (second-order terms met the cotangents at once), "taylor" (they were
            carried to the loss), or "tangent+taylor" (both, in different parts of the net).
        samples: how many samples were measured; None where no sample axis could be found. Fewer than the batch has
            where a part of it was asked for: J is then the mean over that part, in every attribute above.
        batch_size: how many samples the batch has; None as for `samples`.
        part: which samples were measured, as the pass reads them; None for all. `indices` are their numbers.
    """

    total: Tensor
    slope: Tensor
    per_sample: Tensor | None
    per_sample_exact: bool
    source: str
    samples: int | None = None
    batch_size: int | None = None
    part: Part | None = field(default=None, repr=False)
    samples_guessed: bool = False

    @property
    def indices(self) -> tuple[int, ...] | None:
        """Which samples were measured, in the order of `per_sample`; None where no sample axis could be found."""
        if self.part is None:
            return None if self.batch_size is None else tuple(range(self.batch_size))
        if self.part.chosen is not None:
            return tuple(self.part.chosen)
        assert self.part.index is not None
        return tuple(self.part.index.tolist())

    @property
    def standard_error(self) -> Tensor | None:
        """The standard error of `total` as an estimate of the curvature of the whole batch.

        Definition:
            √((1 − k/B) / k · 1/(k−1) Σ_s (q_s − q)²) over the k measured samples of B: 0 where all were measured.

        Returns:
            Shape (), dtype of `per_sample`; None where there are no rows, or one row for several samples.

        Deviations:
            The formula is that of k samples drawn at random without replacement. A part that is spread evenly over a
            batch in random order is such a draw; where the batch is sorted, the error is smaller than this.
        """
        rows, batch = self.per_sample, self.batch_size
        if rows is None or batch is None:
            return None
        count = rows.numel()
        if count == batch:
            return torch.zeros_like(self.total)
        return None if count < 2 else (rows.var() * ((1.0 - count / batch) / count)).sqrt()
