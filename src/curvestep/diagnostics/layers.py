"""`curvestep.layer_curvature`: slope and curvature of the loss along each layer's part of a direction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, final, get_args

import torch
from torch import Tensor

from curvestep._errors import DirectionError
from curvestep._numerics import ratio, squared_norm, to_host
from curvestep.engine import Order, Tape

Grouping = Literal["tensor", "module"]


@final
@dataclass(frozen=True)
class LayerCurvature:
    """The loss J along the part d_l of a direction that belongs to one layer, all other parameters held.

    Attributes:
        name: of the parameter, or of the module that holds it.
        slope: ⟨∇J, d_l⟩.
        curvature: d_lᵀ∇²J d_l.
        absolute_curvature: mean over the samples of |d_lᵀ∇²J_s d_l|; |curvature| where samples cannot be told apart.
        direction_norm_sq: ‖d_l‖².
        step: τ of θ_l ← θ_l − τ d_l, if this layer moved alone, to the minimum of the parabola that has this slope and
            absolute curvature; below 0 where d_l ascends, None where there is no such minimum.
    """

    name: str
    slope: float
    curvature: float
    absolute_curvature: float
    direction_norm_sq: float
    step: float | None


def layer_curvature(
    tape: Tape,
    named_parameters: Iterable[tuple[str, Tensor]],
    direction: Sequence[Tensor],
    *,
    by: Grouping = "tensor",
    kind: Order = "exact",
) -> tuple[LayerCurvature, ...]:
    """Report the curvature of a recorded loss layer by layer.

    Definition:
        With the direction d cut into the parts d_l of the layers l, each zero outside its own parameters, and
        J = (1/B) Σ_s J_s the mean over the batch that backward was called on,

            s_l = ⟨∇J, d_l⟩,    q_l = d_lᵀ∇²J d_l,    a_l = (1/B) Σ_s |d_lᵀ∇²J_s d_l|,    τ_l = s_l / a_l.

        The q_l are the diagonal of the curvature of the layers; dᵀ∇²J d is their sum and what pairs of layers add.

    | symbol | name | meaning |
    |---|---|---|
    | d_l | `direction` | what of it belongs to layer l |
    | s_l | `slope` | slope along d_l |
    | q_l | `curvature` | curvature along d_l |
    | a_l | `absolute_curvature` | mean of the samples' absolute curvatures along d_l |
    | τ_l | `step` | step of ℓ = ½ that layer l would take alone |

    Args:
        tape: a recording in which backward ran once, not yet released.
        named_parameters: pairs of a name and a parameter, such as `model.named_parameters()`; those that require no
            gradient are passed over, with their tensor in `direction`.
        direction: one tensor for each pair, in their order, of the parameter's shape, dtype and device; any scale.
        by: "tensor" for each parameter on its own, "module" for all parameters directly in one module together.
        kind: "exact", or "ggn" for the layers' blocks of the generalised Gauss-Newton form of the whole network.

    Returns:
        One `LayerCurvature` a layer, in the order of their first parameters. A parameter that the loss does not depend
        on has zeros and the step None.

    Raises:
        DirectionError: names and direction differ in number, or a tensor does not fit its parameter.
        RecordingError: backward did not run, ran twice, or the tape was released.
        MissingRuleError: an operation between a parameter and the loss has no rule.
        ValueError: `by` or `kind` is none of those named.

    Cost:
        A tangent pass a layer, each half a gradient at most: it begins where the layer is; one host synchronisation.

    Example:
        J = ½ (a² + 4 b²) from (3, 1) along its gradient (3, 4): each coordinate alone goes to 0, a by a step of 1 and b
        by a step of ¼.

        >>> import torch, curvestep
        >>> a, b = (torch.tensor([x], requires_grad=True) for x in (3.0, 1.0))
        >>> with curvestep.record() as tape:
        ...     loss = 0.5 * (a**2 + 4.0 * b**2).sum()
        ...     loss.backward()
        >>> report = curvestep.layer_curvature(tape, [("a", a), ("b", b)], [a.grad, b.grad])
        >>> [(layer.name, layer.slope, layer.curvature, layer.step) for layer in report]
        [('a', 9.0, 9.0, 1.0), ('b', 16.0, 64.0, 0.25)]

    Source:
        F. de Gournay and A. Gossard, "Adaptive scaling of the learning rate by second order automatic differentiation",
        27 October 2022, Algorithm 2, for each layer's part of the direction; τ_l is Algorithm 1 with ℓ = ½ and no
        average.

    Deviations:
        The source measures the whole direction only.
    """
    if by not in get_args(Grouping):
        raise ValueError(f"by must be one of {', '.join(get_args(Grouping))}, but by={by!r} was given.")
    pairs = list(named_parameters)
    parts = list(direction)
    if len(pairs) != len(parts):
        raise DirectionError(
            f"A direction with one tensor a parameter was needed, but {len(parts)} tensors were given for {len(pairs)} "
            "named parameters. Give torch.zeros_like(p) for parameters that do not move."
        )
    groups: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for (name, parameter), part in zip(pairs, parts, strict=True):
        if parameter.requires_grad:
            layer = name if by == "tensor" else name.rpartition(".")[0]
            groups.setdefault(layer, []).append((parameter, part))
    if not groups:
        return ()
    scalars: list[Tensor] = []
    everything = [p for group in groups.values() for p, _ in group]
    for group in groups.values():
        parameters, own = [p for p, _ in group], [d for _, d in group]
        if kind == "exact":
            found = tape.curvature(parameters, own)
        else:
            # Where the network ends and the loss begins is decided by all that may move, not by this layer.
            given = {id(p): d for p, d in group}
            whole = [given[id(p)] if id(p) in given else torch.zeros_like(p) for p in everything]
            found = tape.curvature(everything, whole, kind=kind)
        samples = found.total if found.per_sample is None else found.per_sample
        scalars += [found.slope, found.total, samples.abs().mean(), squared_norm(own)]
    numbers = to_host(*scalars)
    return tuple(
        LayerCurvature(name, *numbers[4 * index : 4 * index + 4], step=ratio(*_quotient(numbers, index)))
        for index, name in enumerate(groups)
    )


def _quotient(numbers: Sequence[float], index: int) -> tuple[float, float]:
    """Slope and absolute curvature of a layer."""
    return numbers[4 * index], numbers[4 * index + 2]
