"""EGDD: momentum with exponentiated-gradient gains, and a scale for every tensor."""

from __future__ import annotations

from typing import final

from torch.optim import SGD
from torch.optim.optimizer import ParamsT

from curvestep.optim._exponentiated import AbstractExponentiatedGradient


@final
class EGDD(AbstractExponentiatedGradient):
    """Exponentiated-gradient delta-delta, the published form: heavy-ball momentum, one scale a tensor.

    With g = `p.grad`, ĝ = g / ‖g‖ and û = u / ‖u‖ tensor by tensor,

        s ← clip(s · exp(γ_s ⟨ĝ, û⟩)),    p ← clip(p · exp(γ_p sign(g) sign(m))),

        u ← μ u + η p g,    m ← β m + (1−β) g,    θ ← θ − s u.

    | symbol | name | meaning |
    |---|---|---|
    | η, μ | `rate` (`param_groups[i]["lr"]`), `momentum` | learning rate and decay of u |
    | s, p, m | `state[p]["scale"]`, `["gain"]`, `["gradient_average"]` | |
    | γ_s, γ_p | `scale_lr`, `gain_lr` | how fast s and p move |
    | β | `decay` | decay of m |

    Args:
        params: Parameters, named parameters or groups of them, as in `torch.optim`.
        rate: η, a learning rate, at least 0.
        momentum: μ, at least 0.
        gain_lr: γ_p, at least 0.
        scale_lr: γ_s, at least 0.
        decay: β in [0, 1).
        gain_range: Least and largest p, around 1.
        scale_range: Least and largest s, around 1.
        signs: Whether p follows the signs, or g m / (1 − β^(k−1)).
        directions: Whether s follows ⟨ĝ, û⟩, or ⟨g, u⟩.

    Raises:
        ValueError: An argument is out of range.

    Cost:
        That of SGD with momentum, three tensors of state a parameter more, and one host synchronisation.

    Example:
        >>> import torch, curvestep
        >>> theta = torch.tensor([0.5, 1.0], dtype=torch.float64, requires_grad=True)
        >>> optimizer = curvestep.EGDD([theta], rate=0.1, momentum=0.9, decay=0.1)
        >>> for gradient in ([0.1, -0.5], [-1.0, -1.5]):
        ...     theta.grad = torch.tensor(gradient, dtype=torch.float64)
        ...     optimizer.step()
        >>> [round(x, 4) for x in theta.tolist()]
        [0.5801, 1.2466]

    Source:
        The EGDD optimizer of the lingvo framework, after E. Amid, R. Anil, C. Fifty and M. K. Warmuth, "Step-size
        adaptation using exponentiated gradient updates" (arXiv 2202.00145).

    Deviations:
        - A changed η applies to all of u at once, as momentum of torch does, not to new gradients only; the same at a
          constant η.
        - A gradient that is not finite skips the step and changes nothing.
    """

    def __init__(
        self,
        params: ParamsT,
        rate: float,
        momentum: float = 0.9,
        *,
        gain_lr: float = 0.01,
        scale_lr: float = 0.001,
        decay: float = 0.9,
        gain_range: tuple[float, float] = (0.01, 100.0),
        scale_range: tuple[float, float] = (0.1, 10.0),
        signs: bool = True,
        directions: bool = True,
    ) -> None:
        base = SGD(params, lr=rate, momentum=momentum)
        super().__init__(base, "tensor", gain_lr, scale_lr, decay, gain_range, scale_range, signs, directions)
