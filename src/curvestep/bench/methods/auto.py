"""`curvestep.Auto`, and variants without one of its parts."""

from __future__ import annotations

from curvestep.bench.methods.method import BuildRequest, Built, Method


def _auto(request: BuildRequest) -> Built:
    """`curvestep.Auto`, evaluated with its averaged weights."""
    import curvestep

    optimizer = curvestep.Auto(request.parameters, weight_decay=request.weight_decay)
    return Built(optimizer, optimizer, averaged=optimizer.averaged)


def _auto_uncurved(request: BuildRequest) -> Built:
    """The same with a level so high that the curvature never limits the step: ceiling and average alone."""
    import curvestep

    optimizer = curvestep.Auto(request.parameters, weight_decay=request.weight_decay)
    for group in optimizer.param_groups:
        group["lr"] = 1e6
    return Built(optimizer, optimizer, averaged=optimizer.averaged)


def _half_adam_averaged(request: BuildRequest) -> Built:
    """Constant ℓ = ½ with averaged weights and a quarter of each batch measured, and no ceiling."""
    import curvestep

    optimizer = curvestep.RescaledAdam(
        request.parameters, lr=0.5, weight_decay=request.weight_decay, curvature_samples=0.25, averaging=8.0
    )
    return Built(optimizer, optimizer, averaged=optimizer.averaged)


def _balanced_adam(request: BuildRequest) -> Built:
    """`curvestep.BalancedAdam`, evaluated with its averaged weights."""
    import curvestep

    optimizer = curvestep.BalancedAdam(request.parameters, weight_decay=request.weight_decay)
    return Built(optimizer, optimizer, averaged=optimizer.averaged)


AUTO = Method("auto", "curvestep.Auto: no learning rate, no horizon; averaged weights", False, _auto)
AUTO_UNCURVED = Method(
    "auto-uncurved", "auto without its curvature: ceiling and averaged weights alone", False, _auto_uncurved
)
HALF_ADAM_AVERAGED = Method(
    "half-adam-averaged", "Adam direction, ℓ = ½ throughout, averaged weights, no ceiling", False, _half_adam_averaged
)
BALANCED_ADAM = Method(
    "balanced-adam", "curvestep.BalancedAdam: a scale measured over windows; averaged weights", False, _balanced_adam
)
