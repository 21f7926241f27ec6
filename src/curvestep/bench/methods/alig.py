"""ALI-G: a step size from the loss itself, under a cap that may be given."""

from __future__ import annotations

from curvestep.bench.methods.method import BuildRequest, Built, Method

_CAP = 1.0


def _alig(request: BuildRequest) -> Built:
    """Polyak's step, as published without momentum."""
    return _capped(request, momentum=0.0)


def _alig_momentum(request: BuildRequest) -> Built:
    """Polyak's step with Nesterov's momentum, as in most of the published experiments."""
    return _capped(request, momentum=0.9)


def _capped(request: BuildRequest, momentum: float) -> Built:
    """The optimizer; a penalty would put its lower bound of the loss out of reach, so λ is not used."""
    import curvestep

    optimizer = curvestep.ALIG(request.parameters, cap=_CAP if request.lr is None else request.lr, momentum=momentum)
    return Built(optimizer, reporter=optimizer)


ALIG = Method("alig", "ALI-G, step size from the loss, capped at 1 or --lr; no λ", False, _alig, default_lr=_CAP)
ALIG_MOMENTUM = Method(
    "alig-momentum", "ALI-G with Nesterov's momentum of 0.9, capped at 1 or --lr; no λ", False, _alig_momentum, _CAP
)
