"""Normalisations, the softmax family, pools, and dropout with a fixed mask."""

from __future__ import annotations

from tests.fuzz.operations.operation import Fields, Operation, Site


def _last(site: Site) -> Fields | None:
    if not site.shape or site.shape[-1] < 2:
        return None
    n = site.shape[-1]
    return {"n": n, "w": site.param(n), "b": site.param(n)}


def _last_two(site: Site) -> Fields | None:
    if len(site.shape) < 2 or site.shape[-1] * site.shape[-2] < 2:
        return None
    shape = site.shape[-2:]
    return {"s": tuple(shape), "w": site.param(*shape)}


def _channels(site: Site) -> Fields | None:
    if len(site.shape) < 2 or site.shape[0] * _size(site.shape[2:]) < 2:
        return None
    c = site.shape[1]
    return {"c": c, "w": site.param(c), "b": site.param(c), "m": site.const(c), "v": f"({site.const(c)}.exp() + 0.3)"}


def _grouped(site: Site) -> Fields | None:
    if len(site.shape) < 2 or site.shape[1] % 2:
        return None
    c = site.shape[1]
    return {"w": site.param(c), "b": site.param(c)}


def _instance(site: Site) -> Fields | None:
    if len(site.shape) < 3 or _size(site.shape[2:]) < 2:
        return None
    c = site.shape[1]
    return {"w": site.param(c), "b": site.param(c)}


def _along(site: Site) -> Fields | None:
    if not site.shape:
        return None
    return {"d": site.dim(), "w": site.cast()}


def _pool(rank: int):
    def draw(site: Site) -> Fields | None:
        if len(site.shape) < rank + 1 or len(site.shape) > rank + 2 or min(site.shape[-rank:]) < 2:
            return None
        return {"p": site.rng.choice([0, 1]), "s": site.rng.choice([1, 2])}

    return draw


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


def _mask(site: Site) -> Fields | None:
    return {"m": site.const(*site.shape)} if site.shape else None


_SOFTMAX = {
    "softmax": "torch.softmax({a}, {d})",
    "log_softmax": "torch.log_softmax({a}, {d})",
    "softmin": "F.softmin({a}, {d})",
    "logsumexp": "torch.logsumexp({a}, {d})",
    "logsumexp kept": "{a} - torch.logsumexp({a}, {d}, keepdim=True)",
    "normalize": "F.normalize({a} + 0.1, dim={d})",
    "temperature softmax": "torch.softmax({a} * 2 + {w}, {d})",
    "log of softmax": "torch.log(torch.softmax({a}, {d}) + 1e-3)",
    "weighted by softmax": "{a} * torch.softmax({a}.sin(), {d})",
    "rms": "{a} * torch.rsqrt({a}.pow(2).mean({d}, keepdim=True) + 0.1)",
    "standardised": "({a} - {a}.mean({d}, keepdim=True)) / ({a}.var({d}, keepdim=True, unbiased=False) + 0.1).sqrt()",
}

NORMS = [
    *[Operation(name, text, _along) for name, text in _SOFTMAX.items()],
    Operation("layer_norm", "F.layer_norm({a}, ({n},), {w}, {b})", _last),
    Operation("layer_norm bare", "F.layer_norm({a}, ({n},))", _last),
    Operation("layer_norm of two axes", "F.layer_norm({a}, {s}, {w})", _last_two),
    Operation("rms_norm", "F.rms_norm({a}, ({n},), {w}, eps=0.01)", _last),
    Operation("batch_norm training", "F.batch_norm({a}, None, None, {w}, {b}, True)", _channels),
    Operation("batch_norm training bare", "F.batch_norm({a}, None, None, training=True)", _channels),
    Operation("batch_norm evaluating", "F.batch_norm({a}, {m}, {v}, {w}, {b}, False)", _channels),
    Operation("group_norm", "F.group_norm({a}, 2, {w}, {b})", _grouped),
    Operation("group_norm one group", "F.group_norm({a}, 1)", _instance),
    Operation("instance_norm", "F.instance_norm({a}, weight={w}, bias={b})", _instance),
    Operation("local_response_norm", "F.local_response_norm({a}, 2)", _instance),
    Operation("avg_pool1d", "F.avg_pool1d({a}, 2, {s}, {p})", _pool(1)),
    Operation("avg_pool2d", "F.avg_pool2d({a}, 2, {s}, {p})", _pool(2)),
    Operation("adaptive_avg_pool1d", "F.adaptive_avg_pool1d({a}, 2)", _pool(1)),
    Operation("adaptive_avg_pool2d", "F.adaptive_avg_pool2d({a}, (1, 2))", _pool(2)),
    Operation("lp_pool1d", "F.lp_pool1d({a}.exp(), 2, 2, {s})", _pool(1)),
    Operation("max_pool1d", "F.max_pool1d({a}, 2, {s}, {p})", _pool(1), kinked=True),
    Operation("max_pool2d", "F.max_pool2d({a}, 2, {s}, {p})", _pool(2), kinked=True),
    Operation("adaptive_max_pool1d", "F.adaptive_max_pool1d({a}, 2)", _pool(1), kinked=True),
    Operation("adaptive_max_pool2d", "F.adaptive_max_pool2d({a}, (1, 2))", _pool(2), kinked=True),
    Operation("dropout by mask", "{a} * ({m} > -0.5) / 0.7", _mask),
    Operation("interpolate linear", 'F.interpolate({a}, scale_factor=2, mode="linear")', lambda s: _exact(s, 3)),
    Operation("interpolate nearest", "F.interpolate({a}, scale_factor=2)", lambda s: _exact(s, 3)),
    Operation("interpolate bilinear", 'F.interpolate({a}, scale_factor=2, mode="bilinear")', lambda s: _exact(s, 4)),
    Operation("pixel_unshuffle", "F.pixel_unshuffle({a}, 2)", lambda s: _even(s)),
    Operation("unfold images", "F.unfold({a}, 2, padding=1)", lambda s: _exact(s, 4)),
]


def _exact(site: Site, rank: int) -> Fields | None:
    return {} if len(site.shape) == rank else None


def _even(site: Site) -> Fields | None:
    return {} if len(site.shape) == 4 and site.shape[2] % 2 == site.shape[3] % 2 == 0 else None
