"""Complex tensors written through views, forward-mode terms, and tensors that are no plain dense ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import curvestep
from tests.fuzz.case import Claim, directions, whole
from tests.fuzz.findings.finding import Table

FINDINGS = Table()


def _plain(loss: Callable[[], Tensor], params: list[Tensor], memory: str | float = "keep") -> Iterator[Claim]:
    d = directions(params)
    with curvestep.record(memory=memory) as tape:  # pyright: ignore[reportArgumentType]
        loss().backward()
    yield from whole(tape.curvature(params, d), loss, params, d)


def _complex(write: Callable[[Tensor, Tensor], Tensor]) -> Iterator[Claim]:
    """A complex tensor made of w is written to through a view, then squared."""
    w, x = torch.randn(3, 2, requires_grad=True), torch.randn(3, 2)

    def loss() -> Tensor:
        c = torch.complex(torch.tanh(x * w), w.exp())
        h = torch.sin(x + w)
        c = write(c, h)
        return (c * c).abs().pow(2).sum(1).mean()

    return _plain(loss, [w])


@FINDINGS.row("attack 23", hangs=True)
def real_part_multiplied_in_place() -> Iterator[Claim]:
    def write(c: Tensor, h: Tensor) -> Tensor:
        c.real.mul_(h)
        return c

    return _complex(write)


@FINDINGS.row("attack 23")
def imaginary_part_assigned() -> Iterator[Claim]:
    def write(c: Tensor, h: Tensor) -> Tensor:
        c.imag[:, 0] = h[:, 0]
        return c

    return _complex(write)


@FINDINGS.row("attack 23")
def conjugate_multiplied_in_place() -> Iterator[Claim]:
    def write(c: Tensor, h: Tensor) -> Tensor:
        c.conj().mul_(2)
        return c

    return _complex(write)


@FINDINGS.row("attack 23")
def assigned_through_view_as_complex() -> Iterator[Claim]:
    w, x = torch.randn(3, 2, requires_grad=True), torch.randn(3, 2)

    def loss() -> Tensor:
        o = torch.stack([torch.tanh(x * w), w.exp()], -1)
        torch.view_as_complex(o)[:] = torch.complex(w.sin(), x * w)
        return o.pow(4).sum((1, 2)).mean()

    return _plain(loss, [w])


@FINDINGS.row("attack 24", must_answer=True)
def a_forward_mode_tangent() -> Iterator[Claim]:
    w, x, o = torch.randn(3, requires_grad=True), torch.randn(4, 3), torch.randn(4, 3)
    return _plain(lambda: torch.func.jvp(lambda z: torch.sin(w * z), (x,), (o,))[1].sum(1).mean(), [w])


@FINDINGS.row("attack 24", must_answer=True)
def a_laplacian() -> Iterator[Claim]:
    w, v = torch.randn(3, 4, requires_grad=True), torch.randn(4, requires_grad=True)
    x = torch.randn(5, 3)

    def field(z: Tensor) -> Tensor:
        return torch.tanh(z @ w) @ v

    def loss() -> Tensor:
        curved = torch.vmap(torch.func.hessian(field))(x)
        return curved.diagonal(dim1=-2, dim2=-1).sum(-1).pow(2).mean()

    return _plain(loss, [w, v])


@FINDINGS.row("attack 20")
def inference_mode_inside() -> Iterator[Claim]:
    w, x = torch.randn(3, requires_grad=True), torch.randn(4, 3)

    def loss() -> Tensor:
        with torch.inference_mode():
            scale = (x * w).abs().max()
        return torch.tanh(x * w).pow(2).sum(1).mean() * (1 + 0 * scale.item())

    return _plain(loss, [w])


@FINDINGS.row("attack 20")
def a_strided_nested_tensor() -> Iterator[Claim]:
    w = torch.randn(3, requires_grad=True)
    x, y = torch.randn(2, 3), torch.randn(4, 3)

    def loss() -> Tensor:
        nested = torch.nested.as_nested_tensor([x * w, y * w], layout=torch.strided)
        return torch.nested.to_padded_tensor(nested, 0.0).pow(3).sum((1, 2)).mean()

    return _plain(loss, [w])


@FINDINGS.row("attack 20")
def a_jagged_nested_tensor() -> Iterator[Claim]:
    w = torch.randn(3, requires_grad=True)
    x, y = torch.randn(2, 3), torch.randn(4, 3)

    def loss() -> Tensor:
        nested = torch.nested.as_nested_tensor([x * w, y * w], layout=torch.jagged)
        return torch.nested.to_padded_tensor(torch.sin(nested), 0.0).pow(3).sum((1, 2)).mean()

    return _plain(loss, [w])


@FINDINGS.row("attack 20")
def learnable_fake_quantisation() -> Iterator[Claim]:
    torch.set_default_dtype(torch.float32)  # its kernel knows no other
    w, x = torch.randn(3, requires_grad=True), torch.randn(4, 3)
    scale, zero = torch.tensor([0.1], requires_grad=True), torch.tensor([0.0], requires_grad=True)

    def loss() -> Tensor:
        q = torch._fake_quantize_learnable_per_tensor_affine(x * w, scale, zero, -128, 127, 1.0)
        return q.pow(2).sum(1).mean()

    # Its backward is straight through, so that no second derivative is the loss's: only a refusal is right.
    d = directions([w])
    with curvestep.record() as tape:
        loss().backward()
    tape.curvature([w], d)
    yield Claim("an answer was given", True, False)


@FINDINGS.row("attack 17")
def distances_to_a_shared_codebook() -> Iterator[Claim]:
    z, codes, W = torch.randn(3, 4, 2), torch.randn(5, 2, requires_grad=True), torch.randn(2, 2, requires_grad=True)
    d = directions([codes, W])

    def loss() -> Tensor:
        between = torch.tanh(z @ W)[:, :, None] - codes  # torch has no second derivative of cdist
        return between.pow(2).sum(-1).sqrt().exp().mean()

    with curvestep.record() as tape:
        torch.cdist(torch.tanh(z @ W), codes).exp().mean().backward()
    yield from whole(tape.curvature([codes, W], d), loss, [codes, W], d)
    yield from whole(tape.curvature([codes], d[:1]), loss, [codes], d[:1])


@FINDINGS.row("attack 18")
def layer_norm_of_an_empty_part() -> Iterator[Claim]:
    x, w = torch.randn(4, 3), torch.randn(3, requires_grad=True)

    def loss() -> Tensor:
        full, empty = (x * w).split([4, 0])
        return full.exp().sum(1).mean() + F.layer_norm(empty, (3,)).sum()

    return _plain(loss, [w])


@FINDINGS.row("attack 18")
def group_norm_of_an_empty_part() -> Iterator[Claim]:
    x, w = torch.randn(4, 4), torch.randn(4, requires_grad=True)
    none = torch.zeros(4, dtype=torch.bool)
    return _plain(lambda: (x * w).exp().mean() + F.group_norm((x * w)[none], 2).exp().sum(), [w])


@FINDINGS.row("attack 31")
def an_empty_first_batch() -> Iterator[Claim]:
    empty, x, net = torch.randn(0, 3), torch.randn(4, 3), nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2))
    return _plain(lambda: net(empty).exp().sum() + net(x).exp().mean(), list(net.parameters()))


@FINDINGS.row("attack 31")
def the_first_forward_of_a_lazy_module() -> Iterator[Claim]:
    net, x = nn.Sequential(nn.LazyLinear(3), nn.Tanh()), torch.randn(4, 2)
    with curvestep.record() as tape:
        net(x).exp().mean().backward()
    params = list(net.parameters())
    d = directions(params)
    yield from whole(tape.curvature(params, d), lambda: net(x).exp().mean(), params, d)
