"""What a pass over the tape found along one direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from torch import Tensor

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
        per_sample_exact: whether each entry is that sample's own second derivative. False where samples interact
            through something else than the recorded operations can separate; the mean is exact all the same.
        source: which pass made it: "tangent" (second-order terms met the cotangents at once), "taylor" (they were
            carried to the loss), or "tangent+taylor" (both, in different parts of the net).
        samples: how many samples were measured; None where no sample axis could be found. Fewer than the batch has
            where a part of it was asked for: J is then the mean over that part, in every attribute above.
    """

    total: Tensor
    slope: Tensor
    per_sample: Tensor | None
    per_sample_exact: bool
    source: str
    samples: int | None = None
