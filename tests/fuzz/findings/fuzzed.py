"""What the fuzzer found beyond the attacks, each shrunk to a few lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

import curvestep
from tests.fuzz.case import Claim, directions, whole
from tests.fuzz.findings.finding import Table
from tests.fuzz.findings.parts import measured_part
from tests.fuzz.findings.rows import split

FINDINGS = Table()

# -- 1: samples that are in the target or in an index alone, every other argument being shared -------------------------


@FINDINGS.row("fuzz 1")
def shared_logits_against_classes_of_the_samples() -> Iterator[Claim]:
    z, y = torch.randn(4, 3, requires_grad=True), torch.tensor([0, 2, 1, 1])
    return split(lambda: F.cross_entropy(z, y, reduction="none"), [z], mean=lambda: F.cross_entropy(z, y))


@FINDINGS.row("fuzz 1")
def shared_values_against_targets_of_the_samples() -> Iterator[Claim]:
    z, y = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3)
    return split(
        lambda: F.smooth_l1_loss(z, y, reduction="none", beta=0.5).mean(1),
        [z],
        4,
        mean=lambda: F.smooth_l1_loss(z, y, beta=0.5),
    )


def _indexed(made: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Iterator[Claim]:
    """Shared values moved by an index of the samples (4, 3)."""
    p, q, i = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True), torch.randint(3, (4, 3))
    return split(lambda: made(p, q, i).square().mean(1), [p, q], 4, mean=lambda: made(p, q, i).square().mean())


@FINDINGS.row("fuzz 1")
def shared_values_scattered_by_the_samples() -> Iterator[Claim]:
    return _indexed(lambda p, q, i: p.scatter(1, i.argsort(1), q))


@FINDINGS.row("fuzz 1")
def shared_values_added_where_the_samples_say() -> Iterator[Claim]:
    return _indexed(lambda p, q, i: p.scatter_add(1, i, q))


@FINDINGS.row("fuzz 1")
def a_number_scattered_by_the_samples() -> Iterator[Claim]:
    return _indexed(lambda p, q, i: (p * q).scatter(1, i, 0.5))


@FINDINGS.row("fuzz 1")
def shared_values_reduced_by_the_samples() -> Iterator[Claim]:
    return _indexed(lambda p, q, i: p.scatter_reduce(1, i, q, "mean"))


# -- 2: addmm and a product of constants -------------------------------------------------------------------------------


@FINDINGS.row("fuzz 2")
def addmm_adds_samples_to_a_shared_product() -> Iterator[Claim]:
    x, p, q = torch.randn(4, 2), torch.randn(4, 3, requires_grad=True), torch.randn(3, 2, requires_grad=True)
    return split(
        lambda: torch.addmm(x, p, q).square().mean(1), [p, q], 4, mean=lambda: torch.addmm(x, p, q).square().mean()
    )


@FINDINGS.row("fuzz 3")
def a_constant_as_wide_as_the_batch_behind_the_samples() -> Iterator[Claim]:
    x, W, c = torch.randn(3, 3, 2, 2), torch.randn(2, 2, requires_grad=True), torch.randn(3, 3, 3, 2)

    # Samples on axis 2; the last axis of the product is the constant's, and has their number by chance.
    def made() -> Tensor:
        return torch.softmax(torch.sin(x @ W) @ c.mT, -1) @ c

    return split(lambda: made().square().mean((0, 1, 3)), [W], 2, mean=lambda: made().square().mean())


@FINDINGS.row("fuzz 3")
def a_square_constant_that_meets_the_parameter_first() -> Iterator[Claim]:
    x, p, c = torch.randn(2, 3), torch.randn(3, 2, requires_grad=True), torch.randn(3, 3)

    # Samples on axis 1 of x, whose only axis of their number it is.
    def made() -> Tensor:
        return (c @ p).sin() @ x

    return split(lambda: made().square().mean(0), [p], 3, mean=lambda: made().square().mean())


# -- 4: parts of the batch end in torch's own errors -------------------------------------------------------------------


def _written(made: Callable[[Tensor, Tensor], Tensor], memory: str = "keep") -> Iterator[Claim]:
    """Samples x, into which a parameter of the same shape is written."""
    x, p = torch.randn(4, 3), torch.randn(4, 3, requires_grad=True)
    return measured_part(lambda: made(x, p).square().mean(1), [p], 2, 4, memory=memory)


@FINDINGS.row("fuzz 4")
def a_part_of_index_add() -> Iterator[Claim]:
    return _written(lambda x, p: x.index_add(1, torch.tensor([0, 1, 0]), p))


@FINDINGS.row("fuzz 4")
def a_part_of_select_scatter() -> Iterator[Claim]:
    return _written(lambda x, p: x.select_scatter(p.select(1, 0), 1, 2))


@FINDINGS.row("fuzz 4")
def a_part_of_slice_scatter() -> Iterator[Claim]:
    return _written(lambda x, p: x.slice_scatter(p.narrow(1, 0, 1), 1, 0, 1))


@FINDINGS.row("fuzz 4")
def a_part_of_samples_copied_into_a_parameter_under_split() -> Iterator[Claim]:
    def made(x: Tensor, p: Tensor) -> Tensor:
        h = p.clone()
        h.narrow(1, 2, 1).copy_(x.narrow(1, 0, 1))
        return h

    return _written(made, memory="split")


# -- 5: a tangent that is a view of overlapping windows ----------------------------------------------------------------


@FINDINGS.row("fuzz 5")
def select_scatter_into_a_copy_of_overlapping_windows() -> Iterator[Claim]:
    x, p = torch.randn(3, 2), torch.randn(3, 2, requires_grad=True)
    d = directions([p])

    def windows() -> Tensor:
        return torch.sin(x @ p.t()).unfold(1, 2, 1).contiguous()

    def loss() -> Tensor:
        first = windows().select(1, 0)  # torch's own second derivative of select_scatter falls into the same trap
        return torch.stack([first, first], 1).exp().mean()

    with curvestep.record() as tape:
        # The value is a copy, its tangent is still the overlapping view, and a write to one window changes the next.
        copies = windows()
        copies.select_scatter(copies.select(1, 0), 1, 1).exp().mean().backward()
    yield from whole(tape.curvature([p], d), loss, [p], d)


# -- 6: two axes are as long as the batch ------------------------------------------------------------------------------


@FINDINGS.row("fuzz 6")
def samples_across_a_constant_that_comes_first() -> Iterator[Claim]:
    c, x, p = torch.randn(3, 4, 1), torch.randn(4), torch.randn(3, 3, 4, 4, requires_grad=True)

    def made() -> Tensor:
        return torch.lerp(c, x, torch.sigmoid(p)).square()

    return split(lambda: made().mean((0, 1, 2)), [p], 4, mean=lambda: made().mean())


@FINDINGS.row("fuzz 6")
def the_first_sample_of_a_cube_written_into_a_parameter() -> Iterator[Claim]:
    x, p = torch.randn(3, 3, 3, 3), torch.randn(3, 3, 3, 3, requires_grad=True)

    def made() -> Tensor:
        h = p.clone()
        u, w = h.narrow(0, 0, 1), h.select(0, 0)
        u.mul_(2)
        w.add_(x.select(0, 0))
        return h.square()

    return split(lambda: made().mean((1, 2, 3)), [p], 3, mean=lambda: made().mean())


# -- 7: torch's backward kernel of batch norm, where only one of its arguments looks channels-last ---------------------


def _normalised(narrow: int, around: Callable[[Tensor], Tensor]) -> Iterator[Claim]:
    """Batch norm of activations with an axis of size 1, along a direction that is laid out in another order."""
    sizes = [2, 3, 4, 4]
    sizes[narrow] = 1
    p, c = torch.randn(sizes, requires_grad=True), torch.randn(sizes)
    d = [around(directions([p])[0])]

    def explicit() -> Tensor:
        h = p.tanh() - p.tanh().mean((0, 2, 3), keepdim=True)
        return (c * h * (h.square().mean((0, 2, 3), keepdim=True) + 1e-5).rsqrt()).sin().mean()

    with curvestep.record() as tape:
        (c * F.batch_norm(p.tanh(), None, None, training=True)).sin().mean().backward()
    yield from whole(tape.curvature([p], d), explicit, [p], d)


@FINDINGS.row("fuzz 7")
def batch_norm_of_one_column_along_a_transposed_direction() -> Iterator[Claim]:
    return _normalised(3, lambda d: d.transpose(1, 2).contiguous().transpose(1, 2))


@FINDINGS.row("fuzz 7")
def batch_norm_of_one_row_along_a_direction_with_channels_last() -> Iterator[Claim]:
    return _normalised(2, lambda d: d.transpose(1, 3).contiguous().transpose(1, 3))
