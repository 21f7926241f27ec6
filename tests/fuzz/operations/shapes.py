"""Operations that move elements: views, joins, splits, pads, and reads by index."""

from __future__ import annotations

from tests.fuzz.operations.operation import Fields, Operation, Site, rows


def _dims(site: Site) -> Fields | None:
    """Two axes, a permutation, and sizes along one of them."""
    if not site.shape:
        return None
    d, e = site.dim(), site.dim()
    n = site.shape[d]
    order = list(range(len(site.shape)))
    site.rng.shuffle(order)
    return {
        "d": d,
        "e": e,
        "n": n,
        "order": tuple(order),
        "k": site.rng.randint(1, n),
        "j": site.rng.randrange(n),
        "half": (n + 1) // 2,
        "rest": n - (n + 1) // 2,
        "shift": site.rng.choice([-1, 1, 2]),
        "b": site.operand(*site.shape),
        "ones": (2, *[1] * len(site.shape)),
        "zeros": ", ".join(["1"] * len(site.shape)),
        "ind": _list(site, n),
    }


def _list(site: Site, n: int) -> list[int]:
    return [site.rng.randrange(n) for _ in range(site.rng.choice([1, 2, n]))]


_VIEWS = """
    permute: {a}.permute({order})
    transpose: {a}.transpose({d}, {e})
    movedim: {a}.movedim({d}, {e})
    unsqueeze: {a}.unsqueeze({d})
    unsqueeze last: {a}.unsqueeze(-1)
    squeeze of unsqueeze: {a}.unsqueeze({d}).squeeze({d})
    select: {a}.select({d}, {j})
    narrow: {a}.narrow({d}, {j}, 1)
    narrow from the start: {a}.narrow({d}, 0, {k})
    slice with step: {a}[..., ::2]
    ellipsis and none: {a}[..., None, :1]
    flip: {a}.flip({d})
    roll: {a}.roll({shift}, {d})
    roll of all: {a}.roll({shift})
    cat with operand: torch.cat([{a}, {b}], {d})
    cat after operand: torch.cat([{b}, {a}], {d})
    cat of itself: torch.cat([{a}, {a}.sin()], {d})
    stack: torch.stack([{a}, {b}], {d})
    stack last: torch.stack([{a}, {b}], -1)
    chunk product: (lambda c: c[0] * c[-1].sum({d}, keepdim=True))({a}.chunk(2, {d}))
    split and join: torch.cat([c.tanh() * (i + 1) for i, c in enumerate({a}.split([{half}, {rest}], {d}))], {d})
    unbind and sum: sum(c * (i + 1) for i, c in enumerate({a}.unbind({d})))
    unbind and stack: torch.stack([c.sin() for c in {a}.unbind({d})], {e})
    flatten: {a}.flatten()
    flatten and back: {a}.flatten().view({a}.shape)
    flatten from: {a}.flatten({d})
    reshape to two: {a}.reshape({a}.shape[0], -1)
    reshape last: {a}.reshape(-1, {a}.shape[-1])
    unflatten: {a}.unflatten({d}, (-1, 1))
    expand in front: {a}.expand({ones}[0], *{a}.shape)
    expand and sum: ({a}.unsqueeze(0).expand({ones}[0], *{a}.shape) * 2).sum(0)
    broadcast_to: torch.broadcast_to({a}, (2, *{a}.shape))
    repeat: {a}.repeat({ones})
    repeat along: {a}.repeat({zeros})
    repeat_interleave: {a}.repeat_interleave(2, {d})
    tile: torch.tile({a}, (2,))
    diff: torch.cat([{a}, {a}], {d}).diff(dim={d})
    contiguous transpose: {a}.transpose({d}, {e}).contiguous()
    swapaxes and sin: torch.swapaxes({a}.sin(), {d}, {e})
    atleast_3d: torch.atleast_3d({a})
    rot90: torch.rot90({a}.unsqueeze(-1), 1, ({d}, -1)).squeeze()
    as_strided: {a}.contiguous().as_strided(({a}.numel(),), (1,))
    view of windows: {a}.unfold({d}, {k}, 1)
    tensor_split: {a}.tensor_split(2, {d})[0]
    hstack: torch.hstack([{a}, {b}])
    index by list: {a}.index_select({d}, torch.tensor({ind}))
    index last: {a}[..., {j} % {a}.shape[-1]]
    take_along: {a}.take_along_dim({a}.detach().argsort({d}), {d})
    advanced index: {a}[torch.tensor({ind}) % {a}.shape[0]]
    advanced last: {a}[..., torch.tensor({ind}) % {a}.shape[-1]]
    take: {a}.take(torch.tensor({ind}))
    detached factor: {a} * {a}.detach().cos()
    """


def _pads(site: Site) -> Fields | None:
    if not site.shape:
        return None
    return {"l": site.rng.choice([0, 1, -1]), "r": site.rng.choice([1, 2]), "n": site.shape[-1]}


def _reflect(site: Site) -> Fields | None:
    return {} if len(site.shape) in (2, 3) and site.shape[-1] >= 2 else None


def _gather(site: Site) -> Fields | None:
    if not site.shape:
        return None
    d = site.dim()
    n = site.shape[d]
    shape = list(site.shape)
    shape[d] = site.rng.choice([1, 2, n])
    return {
        "d": d,
        "n": n,
        "i": site.index(n, *shape),
        "full": site.index(n, *site.shape),
        "line": site.index(2, n),
        "b": site.operand(*site.shape),
        "small": site.operand(*shape),
        "out": "{out}",
    }


_SCATTER = """
    gather: {a}.gather({d}, {i})
    scatter_add: torch.zeros_like({a}).scatter_add({d}, {full}, {a})
    scatter_add onto: {b}.scatter_add({d}, {full}, {a})
    scatter_add into: {a}.scatter_add({d}, {i}, {small})
    scatter: {b}.scatter({d}, {i}.argsort({d}), {small})
    scatter number: {a}.scatter({d}, {i}, 0.5)
    scatter_reduce sum: {a}.scatter_reduce({d}, {i}, {small}, "sum")
    scatter_reduce mean: {a}.scatter_reduce({d}, {i}, {small}, "mean")
    index_add: {a}.index_add({d}, {line} % {n}, {b})
    index_add from: {b}.index_add({d}, {line} % {n}, {a})
    index_copy: {a}.index_copy({d}, torch.arange({n}).flip(0), {b})
    index_fill: {a}.index_fill({d}, {line}[:1] % {n}, 0.2)
    masked_scatter: {a}.masked_scatter({b}.detach() > 0, {b} * 2)
    select_scatter: {a}.select_scatter({b}.select({d}, 0), {d}, {n} - 1)
    slice_scatter: {a}.slice_scatter({b}.narrow({d}, 0, 1), {d}, 0, 1)
    """


def _corner(site: Site) -> Fields | None:
    return {} if len(site.shape) >= 2 else None


_PLANES = """
    tril: {a}.tril()
    triu: {a}.triu()
    diagonal: {a}.diagonal(0, -2, -1)
    diagonal of the first two: {a}.diagonal(0, 0, 1)
    trace by einsum: torch.einsum("...ii->...", {a} @ {a}.mT)
    matrix transpose: {a}.mT
    diag_embed: torch.diag_embed({a}[..., 0])
    """


def _embedded(site: Site) -> Fields | None:
    """An embedding whose vectors meet the flowing value; its indices are of the samples or shared."""
    if not site.shape:
        return None
    n = site.shape[-1]
    table = site.param(5, n)
    return {"t": table, "i": site.index(5, *site.shape[:-1]), "s": site.index(5, 3)}


SHAPES = [
    *rows(_VIEWS, _dims),
    *rows(_SCATTER, lambda site: {k: v for k, v in (_gather(site) or {}).items() if k != "out"} or None),
    *rows(_PLANES, _corner),
    Operation("pad", "F.pad({a}, ({l}, {r}))", _pads),
    Operation("pad with a value", "F.pad({a}, (1, 0), value=0.3)", _pads),
    Operation("reflection pad", 'F.pad({a}, (1, 1), mode="reflect")', _reflect),
    Operation("replication pad", 'F.pad({a}, (2, 1), mode="replicate")', _reflect),
    Operation("circular pad", 'F.pad({a}, (1, 1), mode="circular")', _reflect),
    Operation("embedding", "{a} * F.embedding({i}, {t})", _embedded),
    Operation("embedding added", "{a} + F.embedding({i}, {t}).tanh()", _embedded),
    Operation("row of a table", "{a} + {t}[{s}].sum(0)", _embedded),
    Operation("embedding bag", "{a} + F.embedding_bag({s}[None], {t}).sin()", _embedded),
    Operation("scores of a table", "{a} @ {t}.t()", _embedded),
]
