"""attach on the modules of one loss: the steps are those of the loop that writes the recordings out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep
from curvestep import RescaledAdam, RescaledSGD
from curvestep._errors import CurvestepError, RecordingError
from curvestep.engine import open_recorder
from curvestep.testing import Problem
from curvestep.testing.truths import central_differences, double_backward
from tests.optim.problem import assert_bitwise_equal

STEPS = 6


def dense(*widths: int) -> nn.Sequential:
    layers = [nn.Linear(a, b).double() for a, b in itertools.pairwise(widths)]
    return nn.Sequential(*[part for layer in layers for part in (layer, nn.Tanh())][:-1])


@dataclass
class Pair:
    """Two modules and the losses of each sample that both go into."""

    seed: int = 0
    modules: tuple[nn.Module, nn.Module] = field(init=False)
    x: Tensor = field(init=False)
    y: Tensor = field(init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.modules = dense(4, 5, 3), dense(3, 4, 4)
        self.x, self.y = torch.randn(5, 6, 4, dtype=torch.float64), torch.randn(5, 6, 3, dtype=torch.float64)

    def encoded(self, batch: int) -> Tensor:
        """An autoencoder: what the one returns, the other reads."""
        one, other = self.modules
        return (other(one(self.x[batch % 5])) - self.x[batch % 5]).square().mean(1)

    def towers(self, batch: int) -> Tensor:
        """Two towers: neither reads what the other returns, and the second is called first."""
        one, other = self.modules
        right = other(self.y[batch % 5])
        left = one(self.x[batch % 5])
        return (left.sum(1) - right.sum(1)).square() + left.square().sum(1)

    def both(self) -> list[list[Tensor]]:
        return [list(module.parameters()) for module in self.modules]

    def parameters(self) -> list[Tensor]:
        return [p.detach().clone() for params in self.both() for p in params]


Make = Callable[[Any], Any]
MAKES: dict[str, tuple[Make, Make]] = {
    "SGD and Adam": (lambda p: RescaledSGD(p, lr=0.3), lambda p: RescaledAdam(p, lr=0.3)),
    "lazy and LQA": (lambda p: RescaledAdam(p, lr=0.3, curvature_every=2), curvestep.LQA),
    "ALIG and Adam": (curvestep.ALIG, lambda p: RescaledAdam(p, lr=0.3)),
    "GeN and nothing measured": (curvestep.GeN, lambda p: curvestep.EGStepSize(torch.optim.AdamW(p))),
}
LOSSES: dict[str, Callable[[Pair, int], Tensor]] = {"encoder and decoder": Pair.encoded, "two towers": Pair.towers}
every_make = pytest.mark.parametrize("makes", MAKES.values(), ids=list(MAKES))
every_loss = pytest.mark.parametrize("terms", LOSSES.values(), ids=list(LOSSES))


def trained(pair: Pair, optimizers: Sequence[Any], terms: Any, parts: int, *, writes_out: bool) -> list[Tensor]:
    """Parameters after some steps, with a recording written out around each backward, or without a line for it."""
    for batch in range(STEPS):
        for part in range(parts):
            with ExitStack() as blocks:
                for optimizer in optimizers if writes_out else ():
                    blocks.enter_context(optimizer.record())
                (terms(pair, batch + part).mean() / parts).backward()
            assert open_recorder() is None, "The recording ends with backward."
        for optimizer in optimizers:
            optimizer.step()
        for optimizer in optimizers:
            optimizer.zero_grad()
    return pair.parameters()


@every_loss
@every_make
@pytest.mark.parametrize("parts", [1, 3])
def test_each_module_attached_to_its_optimizer(makes: tuple[Make, Make], terms: Any, parts: int) -> None:
    one, other = Pair(), Pair()
    written = [make(params) for make, params in zip(makes, one.both(), strict=True)]
    attached = [make(params) for make, params in zip(makes, other.both(), strict=True)]
    if terms is Pair.towers:
        written.reverse()  # the first forward opens the recording, and says what is held
    for module, optimizer in zip(other.modules, attached, strict=True):
        curvestep.attach(module, optimizer)
    truth = trained(one, written, terms, parts, writes_out=True)
    found = trained(other, attached, terms, parts, writes_out=False)
    # where the first to record measures nothing, values are computed again for the other: sums in another order
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-13 if curvestep.ALIG in makes else 0)


HOW: dict[str, Callable[[Pair, Any], Any]] = {
    "a list": lambda pair, optimizer: curvestep.attach([*pair.modules], optimizer),
    "a tuple": lambda pair, optimizer: curvestep.attach(pair.modules, optimizer),
    "a ModuleList": lambda pair, optimizer: curvestep.attach(nn.ModuleList(pair.modules), optimizer),
    "two calls": lambda pair, optimizer: [curvestep.attach(module, optimizer) for module in pair.modules],
}


@every_loss
@pytest.mark.parametrize("attach", HOW.values(), ids=list(HOW))
@pytest.mark.parametrize("make", [curvestep.Auto, lambda p: RescaledAdam(p, lr=0.3)], ids=["Auto", "RescaledAdam"])
def test_modules_of_one_optimizer(make: Make, attach: Callable[[Pair, Any], Any], terms: Any) -> None:
    one, other = Pair(), Pair()
    written, attached = (make([p for params in pair.both() for p in params]) for pair in (one, other))
    attach(other, attached)
    truth = trained(one, [written], terms, 1, writes_out=True)
    assert_bitwise_equal(trained(other, [attached], terms, 1, writes_out=False), truth)


@every_loss
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_what_each_measures_is_its_own_part_of_the_one_loss(order: tuple[int, int], terms: Any) -> None:
    pair = Pair()
    optimizers = [RescaledSGD(params) for params in pair.both()]
    truths = []
    for module, optimizer, params in zip(pair.modules, optimizers, pair.both(), strict=True):
        direction = [-g for g in torch.autograd.grad(terms(pair, 0).mean(), params)]
        problem = Problem(params, direction, lambda: terms(pair, 0).mean(), lambda: terms(pair, 0))
        exact = double_backward(problem)
        values = central_differences(problem, problem.terms)
        # what two extrapolations leave of a series that ends in h⁶
        torch.testing.assert_close(values[1], exact.curvatures, rtol=1e-6, atol=1e-6)
        truths.append((float(exact.slopes.mean()), exact.curvatures))
        curvestep.attach(module, optimizer)
    terms(pair, 0).mean().backward()
    for index in order:
        optimizers[index].step()
    for optimizer, (slope, curvatures) in zip(optimizers, truths, strict=True):
        step = optimizer.last_step
        assert step is not None and step.slope is not None and step.curvature is not None
        assert abs(step.slope) == pytest.approx(abs(slope), rel=1e-11)  # some hundred float64 roundings
        assert step.curvature == pytest.approx(float(curvatures.mean()), rel=1e-10)
        assert step.absolute_curvature == pytest.approx(float(curvatures.abs().mean()), rel=1e-10)


# -- two losses in turn ------------------------------------------------------------------------------------------------


class Gan:
    """A generator and a discriminator."""

    def __init__(self) -> None:
        torch.manual_seed(1)
        self.generator, self.discriminator = dense(3, 5, 2), dense(2, 5, 1)
        self.noise, self.real = torch.randn(5, 6, 3, dtype=torch.float64), torch.randn(5, 6, 2, dtype=torch.float64)

    def judged(self, batch: int) -> Tensor:
        """The discriminator's loss."""
        false = self.generator(self.noise[batch % 5]).detach()
        real = self.discriminator(self.real[batch % 5])
        return F.softplus(self.discriminator(false)).mean() + F.softplus(-real).mean()

    def fooled(self, batch: int) -> Tensor:
        """The generator's."""
        return F.softplus(-self.discriminator(self.generator(self.noise[batch % 5]))).mean()

    def parameters(self) -> list[Tensor]:
        return [p.detach().clone() for module in (self.generator, self.discriminator) for p in module.parameters()]


@pytest.mark.parametrize("clears", ["both first", "each before its backward"])
@pytest.mark.parametrize("freezes", [False, True], ids=["", "frozen discriminator"])
@pytest.mark.parametrize("make", [m for pair in MAKES.values() for m in pair], ids=lambda m: "")
def test_generator_and_discriminator(make: Make, clears: str, freezes: bool) -> None:
    found = []
    for attaches in (False, True):
        gan = Gan()
        makes, judges = make(gan.generator.parameters()), make(gan.discriminator.parameters())
        if attaches:
            curvestep.attach(gan.generator, makes)
            curvestep.attach(gan.discriminator, judges)
        for batch in range(STEPS):
            if clears == "both first":
                makes.zero_grad()
            for optimizer, loss in ((judges, gan.judged), (makes, gan.fooled)):
                if clears != "both first" or optimizer is judges:
                    optimizer.zero_grad()
                gan.discriminator.requires_grad_(optimizer is judges or not freezes)
                with ExitStack() as blocks:
                    if not attaches:
                        blocks.enter_context(optimizer.record())
                    loss(batch).backward()
                optimizer.step()
        found.append(gan.parameters())
    assert_bitwise_equal(*found)


def test_a_recording_is_held_by_those_alone_whose_loss_it_is() -> None:
    gan = Gan()
    makes, judges = RescaledSGD(gan.generator.parameters()), RescaledSGD(gan.discriminator.parameters())
    curvestep.attach(gan.generator, makes)
    curvestep.attach(gan.discriminator, judges)
    gan.judged(0).backward()
    (tape,) = judges._pending.tapes
    assert not makes._pending.tapes and tape.recording.holders == 1
    judges.step()
    assert tape.recording.released


@pytest.mark.parametrize("clears", [False, True])
def test_a_generator_that_ran_before_the_backward_of_the_other_loss_is_refused(clears: bool) -> None:
    """The loop of the DCGAN tutorial: one forward of the generator for two losses, with a backward between them."""
    gan = Gan()
    makes, judges = RescaledSGD(gan.generator.parameters()), RescaledSGD(gan.discriminator.parameters())
    curvestep.attach(gan.generator, makes)
    curvestep.attach(gan.discriminator, judges, batch_size=6)  # its data is made in the recording
    false = gan.generator(gan.noise[0])
    gan.discriminator(false.detach()).exp().mean().backward()
    judges.step()
    if clears:
        makes.zero_grad()
    gan.discriminator(false).exp().mean().backward()
    with pytest.raises(RecordingError, match=r"no parameter of this optimizer a gradient.*call the modules again"):
        makes.step()
    makes.zero_grad()
    gan.fooled(0).backward()
    makes.step()
    assert makes.last_step is not None and makes.last_step.outcome.moved


# -- what is refused, and what is undone -------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [0, 1])
def test_auto_shares_no_recording_and_leaves_none_open(first: int) -> None:
    pair = Pair()
    makes = [curvestep.Auto, RescaledAdam]
    for module, make in zip(pair.modules, makes if first == 0 else makes[::-1], strict=True):
        curvestep.attach(module, make(module.parameters()))
    with pytest.raises(RecordingError, match=r"Auto measures.*a recording that no other optimizer shares was needed"):
        pair.encoded(0).mean().backward()
    assert open_recorder() is None


def test_two_numbers_of_samples_are_refused_and_leave_no_recording_open() -> None:
    pair = Pair()
    optimizers = [RescaledSGD(params) for params in pair.both()]
    for module, optimizer, size in zip(pair.modules, optimizers, (6, 3), strict=True):
        curvestep.attach(module, optimizer, batch_size=size)
    with pytest.raises(RecordingError, match="6 and 3 were stated"):
        pair.encoded(0)
    assert open_recorder() is None and not any(optimizer._pending.tapes for optimizer in optimizers)


@pytest.mark.parametrize("given", [[], nn.ModuleList(), [torch.ones(1)]], ids=["[]", "ModuleList()", "a tensor"])
def test_what_holds_no_module_is_refused(given: Any) -> None:
    with pytest.raises(CurvestepError, match="attach needs the module whose forwards are recorded"):
        curvestep.attach(given, RescaledSGD(nn.Linear(1, 1).parameters()))


def test_a_module_that_is_a_list_and_is_called_is_one_module() -> None:
    class Stack(nn.ModuleList):
        def forward(self, x: Tensor) -> Tensor:
            for module in self:
                x = module(x)
            return x

    net = Stack([nn.Linear(2, 3), nn.Linear(3, 1)])
    optimizer = RescaledSGD(net.parameters())
    attachment = curvestep.attach(net, optimizer)
    net(torch.randn(4, 2)).square().mean().backward()
    optimizer.step()
    assert optimizer.last_step is not None and optimizer.last_step.outcome.moved
    attachment.remove()
    net[0](torch.randn(4, 2))
    assert open_recorder() is None


def test_without_its_hooks_nothing_is_recorded() -> None:
    pair = Pair()
    optimizer = RescaledSGD([p for params in pair.both() for p in params])
    curvestep.attach(pair.modules, optimizer).remove()
    pair.encoded(0)
    assert open_recorder() is None and not optimizer._pending.tapes
