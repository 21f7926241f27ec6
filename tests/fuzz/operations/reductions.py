"""Sums, moments, orders and cumulative operations along an axis."""

from __future__ import annotations

from tests.fuzz.operations.operation import Fields, Operation, Site, rows


def _along(site: Site) -> Fields | None:
    if not site.shape:
        return None
    d = site.dim()
    n = site.shape[d]
    return {"d": d, "n": n, "k": site.rng.randint(1, n), "keep": site.rng.choice([True, False])}


def _several(site: Site) -> Fields | None:
    fields = _along(site)
    return fields if fields is not None and site.shape[fields["d"]] >= 2 else None  # type: ignore[index]


_SMOOTH = """
    sum: {a}.sum({d}, keepdim={keep})
    mean: {a}.mean({d}, keepdim={keep})
    sum of the last two: {a}.sum((-1, -{a}.ndim))
    prod: {a}.prod({d}, keepdim={keep})
    norm 2: torch.linalg.vector_norm({a} + 1.5, dim={d}, keepdim={keep})
    norm 3: torch.linalg.vector_norm({a}.exp(), 3, dim={d}, keepdim={keep})
    p-norm: {a}.exp().norm(1.5, {d})
    squares: ({a} ** 2).sum({d}, keepdim=True) * {a}
    cumsum: {a}.cumsum({d})
    cumprod: ({a} + 1.5).cumprod({d})
    logcumsumexp: {a}.logcumsumexp({d})
    weighted mean: ({a} * {a}.exp()).sum({d}) / {a}.exp().sum({d})
    nansum: {a}.nansum({d})
    centred: {a} - {a}.mean({d}, keepdim=True)
    scaled by the sum: {a} / ({a}.exp().sum({d}, keepdim=True))
    mean of all times: {a} * {a}.mean()
    trapezoid: torch.trapezoid(torch.cat([{a}, {a}.sin()], {d}), dim={d})
    """

_MOMENTS = """
    var: {a}.var({d}, keepdim={keep})
    var biased: {a}.var({d}, unbiased=False, keepdim={keep})
    std: {a}.std({d}, keepdim={keep})
    var_mean: (lambda m: m[0] + m[1])(torch.var_mean({a}, {d}))
    std_mean: (lambda m: m[0] * m[1])(torch.std_mean({a}, {d}))
    """

_ORDERS = """
    amax: {a}.amax({d}, keepdim={keep})
    amin: {a}.amin({d}, keepdim={keep})
    max values: {a}.max({d}, keepdim={keep}).values
    min values: {a}.min({d}).values
    median: {a}.median({d}).values
    sort: {a}.sort({d}).values
    sort descending: {a}.sort({d}, descending=True).values ** 2
    topk: {a}.topk({k}, {d}).values
    kthvalue: {a}.kthvalue({k}, {d}).values
    cummax: {a}.cummax({d}).values
    cummin: {a}.cummin({d}).values
    mode of rounded: {a} * {a}.detach().round().amax({d}, keepdim=True)
    l1 norm: torch.linalg.vector_norm({a}, 1, dim={d})
    max norm: torch.linalg.vector_norm({a}, float("inf"), dim={d})
    aminmax: (lambda m: m.max - m.min)(torch.aminmax({a}, dim={d}))
    quantile: {a}.quantile(0.3, {d})
    renormed: {a}.renorm(2, {d}, 0.7)
    argsorted: {a}.gather({d}, {a}.argsort({d}))
    """

REDUCTIONS: list[Operation] = [
    *rows(_SMOOTH, _along),
    *rows(_MOMENTS, _several),
    *rows(_ORDERS, _along, kinked=True),
]
