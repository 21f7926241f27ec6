"""Methods that fit a parabola to losses along the step: LQA, and the generalised Newton method around AdamW."""

from __future__ import annotations

from curvestep.bench.methods.method import BuildRequest, Built, Method


def _lqa(request: BuildRequest) -> Built:
    """Along the gradient, at every step, on the batch of the gradient, as published."""
    import curvestep

    optimizer = curvestep.LQA(request.parameters, weight_decay=request.weight_decay)
    return Built(optimizer, reporter=optimizer)


def _gen(request: BuildRequest) -> Built:
    """The published constants; λ is decoupled, as in the row of AdamW."""
    import curvestep

    optimizer = curvestep.GeN(request.parameters, decoupled_weight_decay=request.weight_decay)
    return Built(optimizer, reporter=optimizer)


LQA = Method("lqa", "LQA, gradient, to the minimum of a parabola through three losses", False, _lqa)
GEN = Method("gen", "GeN, AdamW whose rate starts at 1e-4 and follows a parabola every 8 steps", False, _gen)
