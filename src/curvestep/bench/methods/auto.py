"""`curvestep.Auto`, and variants without one of its parts."""

from __future__ import annotations

import functools

from curvestep.bench.methods.method import BuildRequest, Built, Method


def _auto(request: BuildRequest) -> Built:
    """`curvestep.Auto`, evaluated with its averaged weights."""
    import curvestep

    optimizer = curvestep.Auto(request.parameters, weight_decay=request.weight_decay)
    return Built(optimizer, optimizer, averaged=optimizer.averaged)


def _ceiling(request: BuildRequest, *, curved: bool) -> Built:
    """A measured step under a fixed ceiling, or the ceiling alone."""
    from curvestep.bench.methods.ceiling_adam import CeilingAdam

    optimizer = CeilingAdam(request.parameters, weight_decay=request.weight_decay, curved=curved)
    return Built(optimizer, optimizer, averaged=optimizer.averaged)


def _half_adam_averaged(request: BuildRequest) -> Built:
    """Constant ℓ = ½ with averaged weights and a quarter of each batch measured, and no ceiling."""
    import curvestep

    optimizer = curvestep.RescaledAdam(
        request.parameters, lr=0.5, weight_decay=request.weight_decay, curvature_samples=0.25, averaging=8.0
    )
    return Built(optimizer, optimizer, averaged=optimizer.averaged)


AUTO = Method("auto", "curvestep.Auto: no learning rate, no horizon; averaged weights", False, _auto)
AUTO_CEILING = Method(
    "auto-ceiling",
    "Adam direction, ℓ = ½ under the ceiling 0.006 min(k/100, √(100/k)), averaged weights",
    False,
    functools.partial(_ceiling, curved=True),
)
AUTO_UNCURVED = Method(
    "auto-uncurved",
    "the same without its curvature: ceiling and averaged weights alone",
    False,
    functools.partial(_ceiling, curved=False),
)
HALF_ADAM_AVERAGED = Method(
    "half-adam-averaged", "Adam direction, ℓ = ½ throughout, averaged weights, no ceiling", False, _half_adam_averaged
)
