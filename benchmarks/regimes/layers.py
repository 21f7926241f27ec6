"""An experiment: an r of its own for each tensor, from the curvature along its part of the direction alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor, nn

import curvestep
from benchmarks.regimes.training import Seen
from curvestep import _numerics
from curvestep._probe import Probe
from curvestep.directions import Direction
from curvestep.steprules import CurvatureRescaling


@final
class LayerStepper:
    """θ_l ← θ_l − ℓ r_l d_l for each tensor l, r_l by Algorithm 1 from the slope and curvature along d_l alone.

    What the tensors have to do with each other, the blocks of the Hessian beside its diagonal, is left out.

    Args:
        network: what is trained.
        direction: gives d.
        ell: ℓ.
    """

    def __init__(self, network: nn.Module, direction: Direction, ell: float) -> None:
        self.named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
        self.direction = direction
        self.ell = ell
        self.states = [direction.init(parameter) for _, parameter in self.named]
        self.rule = CurvatureRescaling(slope="absolute")
        self.rule_states = [self.rule.init() for _ in self.named]

    def step(self, compute: Callable[[], Tensor]) -> Seen:
        """One step; the slope that is seen is that along the whole of d."""
        parameters = [parameter for _, parameter in self.named]
        for parameter in parameters:
            parameter.grad = None
        with curvestep.record() as tape:
            loss = compute()
            loss.backward()
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        proposal = self.direction.propose(gradients, self.states)
        direction = proposal.direction
        value = loss.item()
        if not math.isfinite(value):
            tape.release()
            return Seen(value, None, "NON_FINITE_LOSS")
        layers = curvestep.layer_curvature(tape, self.named, direction)
        tape.release()
        sizes = _numerics.to_host(*[_numerics.squared_norm([p.detach()]) for p in parameters])
        outcomes: list[str] = []
        for index, layer in enumerate(layers):
            probe = Probe(
                value,
                layer.slope,
                layer.curvature,
                layer.absolute_curvature,
                layer.direction_norm_sq,
                sizes[index],
            )
            choice = self.rule.choose(probe, self.ell, self.rule_states[index])
            self.rule_states[index] = choice.state
            outcomes.append(choice.outcome.name)
            _numerics.add_([parameters[index].detach()], [direction[index]], alpha=-self.ell * choice.rescaling)
        self.states = proposal.following
        # One name for the whole step: that of the first tensor that did not just step.
        outcome = next((name for name in outcomes if name not in ("TAKEN", "ABSOLUTE_SLOPE")), "TAKEN")
        return Seen(value, math.fsum(layer.slope for layer in layers), outcome)
