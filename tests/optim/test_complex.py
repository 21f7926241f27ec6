"""Complex parameters: each optimizer takes the steps that it takes on their real and imaginary parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.methods import CASE_IDS, CASES, Method, Options

#: What acts on the parameters otherwise than a plain step does.
OTHERWISE = {"plain", "L2", "decoupled decay", "guard", "Gauss-Newton", "averaged"}
CHOSEN = [(name, case) for name, case in zip(CASE_IDS, CASES, strict=True) if name.partition("-")[2] in OTHERWISE]


class Net:
    """A complex layer, a Fourier transform and a real head; its complex weight as such or as pairs of numbers."""

    def __init__(self, pairs: bool) -> None:
        torch.manual_seed(0)
        weight = torch.randn(3, 4, dtype=torch.complex128)
        self.weight = (torch.view_as_real(weight).clone() if pairs else weight).requires_grad_()
        self.head = nn.Linear(4, 1).double()
        self.x = torch.randn(6, 3, dtype=torch.complex128)

    @property
    def params(self) -> list[Tensor]:
        return [self.weight, *self.head.parameters()]

    def loss(self) -> Tensor:
        weight = self.weight if self.weight.is_complex() else torch.view_as_complex(self.weight)
        return self.head(torch.fft.fft(torch.tanh(self.x @ weight)).abs()).square().mean()

    def trained(self, method: Method, options: Options) -> list[Tensor]:
        """The parameters after five steps, complex ones as pairs."""
        optimizer = method.make(self.params, **options)
        for _ in range(5):
            optimizer.zero_grad()
            with optimizer.record():
                self.loss().backward()
            optimizer.step()
        state: Any = optimizer.state_dict()
        optimizer.load_state_dict(state)
        optimizer.zero_grad()
        with optimizer.record():
            self.loss().backward()
        optimizer.step()
        return [torch.view_as_real(p.detach()) if p.is_complex() else p.detach() for p in self.params]


@pytest.mark.parametrize(("method", "options"), [case for _, case in CHOSEN], ids=[name for name, _ in CHOSEN])
def test_steps_are_those_of_pairs_of_numbers(method: Method, options: Options) -> None:
    given, expected = (Net(pairs).trained(method, options) for pairs in (False, True))
    for one, other in zip(given, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)  # six steps of rounding in another order
