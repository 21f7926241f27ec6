"""Exponentiated-gradient step sizes: a given learning rate, and factors on it that are learnt while training."""

from __future__ import annotations

from curvestep.bench.methods.baselines import adamw, scheduled, sgd
from curvestep.bench.methods.method import BuildRequest, Built, Method


def _eg_sgd(request: BuildRequest) -> Built:
    """A gain of every coordinate and one scale around plain gradient descent."""
    import curvestep

    return scheduled(curvestep.EGStepSize(sgd(request)), request)


def _eg_adam(request: BuildRequest) -> Built:
    """The same around AdamW."""
    import curvestep

    return scheduled(curvestep.EGStepSize(adamw(request)), request)


def _egdd(request: BuildRequest) -> Built:
    """The released optimizer with its constants, momentum of 0.9 included; it has no λ."""
    import curvestep

    return scheduled(curvestep.EGDD(request.parameters, rate=request.given_lr), request)


EG_SGD = Method("eg-sgd", "SGD, its rate and gains adapted by exponentiated gradient; needs --lr", True, _eg_sgd)
EG_ADAM = Method("eg-adam", "AdamW, its rate and gains adapted by exponentiated gradient; needs --lr", True, _eg_adam)
EGDD = Method("egdd", "EGDD as released, momentum 0.9, a scale for every tensor; no λ; needs --lr", True, _egdd)
