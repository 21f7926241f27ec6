"""Linear layers, matrix products of every form, einsum, convolutions, attention, distances and recurrent cells."""

from __future__ import annotations

from collections.abc import Callable

from tests.fuzz.operations.operation import Fields, Operation, Site


def _linear(site: Site) -> Fields | None:
    if not site.shape:
        return None
    k, n = site.rng.choice([1, 2, 3, 4]), site.shape[-1]
    return {
        "w": site.operand(k, n) if site.rng.random() < 0.3 else site.param(k, n),
        "t": site.operand(n, k),
        "v": site.operand(n),
        "b": site.param(k),
    }


def _matrix(site: Site) -> Fields | None:
    """Operands that fit the last two axes: of a shared matrix, or of one a batch entry."""
    if len(site.shape) < 2:
        return None
    *batch, m, n = site.shape
    k = site.rng.choice([1, 2, 3, n])
    lead = batch if site.rng.random() < 0.6 else []
    return {"r": site.operand(*lead, n, k), "l": site.operand(*lead, k, m), "v": site.operand(n), "u": site.operand(m)}


def _batched(site: Site) -> Fields | None:
    if len(site.shape) != 3:
        return None
    b, m, n = site.shape
    k = site.rng.choice([1, 2, 3])
    return {
        "r": site.operand(b, n, k),
        "l": site.operand(b, k, m),
        "c": site.operand(b, m, k),
        "c2": site.operand(m, k),
        "p": site.param(k, n, 3),
        "q": site.operand(k, n),
    }


def _plane(site: Site) -> Fields | None:
    if len(site.shape) != 2:
        return None
    m, n = site.shape
    k = site.rng.choice([1, 2, 3])
    return {
        "r": site.operand(n, k),
        "l": site.operand(k, m),
        "c": site.operand(m, k),
        "c1": site.operand(k),
        "v": site.operand(n),
        "s": site.operand(m, n),
        "w": site.param(n, 3 * n),
        "h": site.operand(m, 2),
        "gi": site.param(6, n),
        "gh": site.param(6, 2),
        "li": site.param(8, n),
        "lh": site.param(8, 2),
        "b": site.param(8),
        "x2": site.operand(3, n),
        "bl": site.param(2, n, n),
    }


def _line(site: Site) -> Fields | None:
    if len(site.shape) != 1:
        return None
    return {"v": site.operand(*site.shape), "w": site.operand(2), "m": site.operand(3, site.shape[0])}


def _conv(rank: int) -> Callable[[Site], Fields | None]:
    def draw(site: Site) -> Fields | None:
        if len(site.shape) != rank + 2 or min(site.shape[2:]) < 2:
            return None
        c, k = site.shape[1], site.rng.choice([1, 2, 3])
        kernel = [2] * rank
        return {
            "w": site.param(k, c, *kernel),
            "t": site.param(c, k, *kernel),
            "g": site.param(2 * c, 1, *kernel),
            "b": site.param(k),
            "s": site.rng.choice([1, 2]),
            "p": site.rng.choice([0, 1]),
            "n": rank,
        }

    return draw


def _attention(site: Site) -> Fields | None:
    if len(site.shape) < 3:
        return None
    *batch, n, e = site.shape
    m = site.rng.choice([2, 3])
    return {
        "k": site.operand(*batch, m, e),
        "v": site.operand(*batch, m, 2),
        "q": site.operand(*batch, m, e),
        "mask": site.const(n, m),
        "s": site.operand(*batch, n, e),
    }


def _table(texts: dict[str, str], draw: Callable[[Site], Fields | None]) -> list[Operation]:
    return [Operation(name, text, draw) for name, text in texts.items()]


PRODUCTS = [
    *_table(
        {
            "linear": "F.linear({a}, {w}, {b})",
            "linear without bias": "F.linear({a}, {w})",
            "at": "{a} @ {t}",
            "at vector": "{a} @ {v}",
            "matmul": "torch.matmul({a}, {t})",
            "tensordot": "torch.tensordot({a}, {t}, dims=1)",
            "einsum linear": 'torch.einsum("...n,nk->...k", {a}, {t})',
            "normalised weight": "F.linear({a}, {w} / {w}.norm(dim=1, keepdim=True).clamp_min(0.1))",
            "inner": "torch.inner({a}, {w})",
            "weight drop": "F.linear({a}, {w} * ({w}.detach() > -0.5))",
        },
        _linear,
    ),
    *_table(
        {
            "matrices on the right": "{a} @ {r}",
            "matrices on the left": "{l} @ {a}",
            "gram": "{a} @ {a}.transpose(-1, -2)",
            "gram of columns": "{a}.mT @ {a}",
            "einsum matrices": 'torch.einsum("...mn,...nk->...mk", {a}, {r})',
            "einsum on the left": 'torch.einsum("...km,...mn->...kn", {l}, {a})',
            "vector on the left": "torch.matmul({u}, {a})",
            "matmul chain": "({l} @ {a}) @ {r}",
        },
        _matrix,
    ),
    *_table(
        {
            "bmm": "torch.bmm({a}, {r})",
            "bmm second": "torch.bmm({l}, {a})",
            "baddbmm": "torch.baddbmm({c}, {a}, {r}, beta=0.5, alpha=0.8)",
            "baddbmm shared": "torch.baddbmm({c2}, {a}, {r})",
            "addbmm": "torch.addbmm({c2}, {a}, {r})",
            "einsum bmm": 'torch.einsum("bmn,bnk->bkm", {a}, {r})',
            "einsum outer": 'torch.einsum("bmn,kn->bmkn", {a}, {q})',
            "einsum diagonal": 'torch.einsum("bmn,bmn->bm", {a}, {a})',
            "bilinear by einsum": 'torch.einsum("bmn,kno,bmo->bmk", {a}, {p}, {a}[..., :1].expand(-1, -1, 3))',
        },
        _batched,
    ),
    *_table(
        {
            "mm": "torch.mm({a}, {r})",
            "mm second": "torch.mm({l}, {a})",
            "addmm": "torch.addmm({c}, {a}, {r}, beta=0.5, alpha=1.2)",
            "addmm shared": "torch.addmm({c1}, {a}, {r})",
            "mv": "torch.mv({a}, {v})",
            "addmv": "torch.addmv({c1}[:1], {a}, {v})",
            "einsum outer of rows": 'torch.einsum("mn,mo->mno", {a}, {h})',
            "bilinear": "F.bilinear({a}, {s}, {bl})",
            "bilinear second": "F.bilinear({s}, {a}, {bl})",
            "cdist": "torch.cdist({a}, {x2})",
            "cdist second": "torch.cdist({x2}, {a})",
            "pairwise_distance": "F.pairwise_distance({a}, {s})",
            "cosine_similarity": "F.cosine_similarity({a}, {s}, dim=1)",
            "gru_cell": "torch.gru_cell({a}, {h}, {gi}, {gh})",
            "lstm_cell": "torch.lstm_cell({a}, ({h}, {h}.sin()), {li}, {lh}, {b}, {b})[0]",
            "lstm_cell state": "torch.lstm_cell({a}, ({h}, {h}), {li}, {lh})[1]",
            "rnn_tanh_cell": "torch.rnn_tanh_cell({a}, {h}, {gi}[:2], {gh}[:2])",
            "rnn_relu_cell": "torch.rnn_relu_cell({a}, {h}, {gi}[:2], {gh}[:2])",
            "qkv by chunks": "(lambda q, k, v: torch.softmax(q * k, -1) * v)(*({a} @ {w}).chunk(3, -1))",
            "kron": "torch.kron({a}, {h}[:1, :2])",
            "block_diag": "torch.block_diag({a}, {h})",
        },
        _plane,
    ),
    *_table(
        {
            "dot": "{a} * torch.dot({a}, {v})",
            "outer": "torch.outer({a}, {w})",
            "outer second": "torch.outer({w}, {a})",
            "addr": "torch.addr(torch.zeros(()), {a}, {w})",
            "matrix times line": "{m} @ {a}",
            "vdot": "{a} + torch.vdot({v}, {a})",
        },
        _line,
    ),
    *_table(
        {
            f"conv{n}d{suffix}": text.format(n=n)
            for n in (1, 2)
            for suffix, text in {
                "": "F.conv{n}d({{a}}, {{w}}, {{b}}, stride={{s}}, padding={{p}})",
                " dilated": "F.conv{n}d({{a}}, {{w}}, dilation=2, padding=1)",
                " depthwise": "F.conv{n}d({{a}}, {{g}}, groups={{a}}.shape[1])",
                " transposed": "F.conv_transpose{n}d({{a}}, {{t}}, {{b}}, stride={{s}})",
            }.items()
        },
        lambda site: _conv(len(site.shape) - 2)(site) if len(site.shape) in (3, 4) else None,
    ),
    *_table(
        {
            "attention": "F.scaled_dot_product_attention({a}, {k}, {v})",
            "attention with mask": "F.scaled_dot_product_attention({a}, {k}, {v}, {mask})",
            "causal attention": "F.scaled_dot_product_attention({a}, {s}, {s}.sin(), is_causal=True)",
            "attention key": "F.scaled_dot_product_attention({q}, {a}, {a}.tanh())",
            "attention value": "F.scaled_dot_product_attention({q}, {s}, {a})",
            "self attention": "F.scaled_dot_product_attention({a}, {a}, {a}, scale=0.5)",
            "attention by hand": "torch.softmax({a} @ {k}.transpose(-1, -2), -1) @ {v}",
            "batched cdist": "torch.cdist({a}, {k})",
        },
        _attention,
    ),
]
