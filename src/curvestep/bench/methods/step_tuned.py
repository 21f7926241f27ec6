"""Step-Tuned SGD: a learning rate with a fixed decay, adapted by the curvature between two gradients of one batch."""

from __future__ import annotations

from curvestep.bench.methods.method import BuildRequest, Built, Method


def _step_tuned(request: BuildRequest) -> Built:
    """The published constants; the decay over the steps is part of the method, so schedules are left out."""
    import curvestep

    optimizer = curvestep.StepTunedSGD(request.parameters, rate=request.given_lr, weight_decay=request.weight_decay)
    return Built(optimizer, reporter=optimizer)


STEP_TUNED = Method(
    "step-tuned",
    "Step-Tuned SGD, two gradients a batch; needs --lr, has its own schedule",
    needs_lr=True,
    build=_step_tuned,
    takes_schedule=False,
)
