"""What is kept of the cotangents changes the cost of a pass, never its result."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep
from tests.engine.graphs import GRAPHS, TASK_GRAPHS, Graph
from tests.engine.parts import check_parts


def _convolutional() -> tuple[nn.Module, Tensor]:
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(6, 6, 3),
        nn.BatchNorm2d(6),
        nn.GELU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 6, 3, groups=2),
        nn.Softplus(),
        nn.Flatten(),
        nn.Linear(6, 5),
    )
    return net.double(), torch.randn(6, 3, 8, 8, dtype=torch.float64)


def _deep() -> tuple[nn.Module, Tensor]:
    layers: list[nn.Module] = []
    for _ in range(6):
        layers += [nn.Linear(12, 12), nn.LayerNorm(12), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(12, 5)).double(), torch.randn(6, 12, dtype=torch.float64)


def _recorded(net: nn.Module, x: Tensor, memory: Any) -> curvestep.Tape:
    targets = torch.arange(len(x)) % 5
    net.zero_grad()
    with curvestep.record(memory=memory) as tape:
        F.cross_entropy(net(x), targets).backward()
    return tape


def _kept(tape: curvestep.Tape) -> list[Any]:
    return [slot for slot in tape.recording.log.slots if slot.cotangent is not None and not slot.scalar]


@pytest.mark.parametrize("build", [_convolutional, _deep])
@pytest.mark.parametrize("per_sample", [True, False])
@pytest.mark.parametrize("memory", ["split", 0, 0.2, 0.5, 10.0])
def test_every_share_gives_the_same_curvature(build: Any, memory: Any, per_sample: bool) -> None:
    net, x = build()
    params = list(net.parameters())
    direction = [torch.randn_like(p) for p in params]
    whole = _recorded(net, x, "keep").curvature(params, direction, per_sample=per_sample)
    part = _recorded(net, x, memory).curvature(params, direction, per_sample=per_sample)
    # the same terms are added in another order: float64 rounding
    torch.testing.assert_close(part.total, whole.total, rtol=1e-11, atol=1e-12)
    assert part.slope.item() == pytest.approx(whole.slope.item(), rel=1e-12)
    if per_sample:
        assert part.per_sample_exact and whole.per_sample_exact
        torch.testing.assert_close(part.per_sample, whole.per_sample, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("build", [_convolutional, _deep])
def test_the_cut_keeps_the_cotangents_nearest_to_the_loss_within_the_share(build: Any) -> None:
    net, x = build()
    whole = _recorded(net, x, "keep")
    kept_by_all = _kept(whole)
    for share in (0.05, 0.1, 0.3):
        tape = _recorded(net, x, share)
        kept = _kept(tape)
        assert len(kept) < len(kept_by_all)
        assert sum(slot.nbytes for slot in kept) <= share * tape.recording.log.held
        order = [slot.kept for slot in tape.recording.log.slots if not slot.scalar]
        assert order == sorted(order), "what is kept is not the part nearest to the loss"
    assert not _kept(_recorded(net, x, 0))


def test_what_was_carried_is_said() -> None:
    net, x = _deep()
    params = list(net.parameters())
    direction = [torch.randn_like(p) for p in params]
    assert _recorded(net, x, "keep").curvature(params, direction).source == "tangent"
    assert _recorded(net, x, 0).curvature(params, direction).source == "tangent+taylor"


@pytest.mark.parametrize("memory", ["most", -0.1, None, True])
def test_anything_else_is_refused(memory: Any) -> None:
    with pytest.raises(ValueError, match="memory must be 'keep', 'split' or a share"), curvestep.record(memory=memory):
        pass


# -- nothing held: every value is computed again -----------------------------------------------------------------------


def _held(tape: curvestep.Tape) -> list[Any]:
    """The values between parameters and loss that the tape holds."""
    found = [v for node in tape.nodes for v in node.outputs if v is not None and v.needs_grad and v.data is not None]
    return [v for v in found if v.data is not None and v.data.numel() > 1]


@pytest.mark.parametrize("graph", GRAPHS + TASK_GRAPHS, ids=lambda graph: graph.name)
def test_every_network_gives_the_same_without_anything_held(graph: Graph) -> None:
    problem = graph.problem(torch.float64)
    torch.manual_seed(3)  # of dropout
    with curvestep.record() as tape:
        problem.loss().backward()
    whole = tape.curvature(problem.params, problem.direction, form="taylor")
    tape.release()
    torch.manual_seed(3)
    with curvestep.record(memory="split") as tape:
        problem.loss().backward()
    random = any(torch.Tag.nondeterministic_seeded in getattr(node.op, "tags", ()) for node in tape.nodes)
    assert random or not _held(tape)
    part = tape.curvature(problem.params, problem.direction)
    # statistics and sums are formed again, in another order at most: float64 rounding through some hundred operations
    torch.testing.assert_close(part.total, whole.total, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(part.per_sample, whole.per_sample, rtol=1e-9, atol=1e-11)
    assert part.per_sample_exact == whole.per_sample_exact
    if graph.exact:
        check_parts(tape, problem, graph.whole)


def test_what_does_not_move_is_computed_again_too() -> None:
    net, x = _deep()
    params = list(net.parameters())
    some = params[4:6] + params[-2:]
    direction = [torch.randn_like(p) for p in some]
    for kind in ("exact", "ggn"):
        whole = _recorded(net, x, "keep").curvature(some, direction, kind=kind)
        for samples in (None, 2):
            part = _recorded(net, x, "split").curvature(some, direction, kind=kind, samples=samples)
            assert whole.per_sample is not None and part.per_sample is not None
            assert part.indices is not None
            torch.testing.assert_close(part.per_sample, whole.per_sample[list(part.indices)], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("stated", [None, 6])
def test_inputs_by_which_the_loss_is_differentiated_are_data_in_a_replay_too(stated: int | None) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    x = torch.rand(6, 1, dtype=torch.float64, requires_grad=True)
    params = list(net.parameters())
    direction = [torch.ones_like(p) for p in params]

    def measured(memory: Any, samples: int | None) -> curvestep.Curvature:
        with curvestep.record(stated, memory=memory) as tape:
            value = net(x)
            (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
            (slope + value).square().mean().backward()
        return tape.curvature(params, direction, samples=samples)

    for samples in (None, 2):
        kept, split = measured("keep", samples), measured("split", samples)
        assert kept.per_sample_exact and split.per_sample_exact and split.samples == (samples or 6)
        assert kept.per_sample is not None and split.per_sample is not None
        torch.testing.assert_close(split.per_sample, kept.per_sample, rtol=1e-12, atol=1e-12)
