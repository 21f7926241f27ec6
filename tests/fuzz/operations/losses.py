"""Losses as a mean or sum of terms; {r} is the reduction, and with "none" the terms keep the axis of the samples."""

from __future__ import annotations

from tests.fuzz.operations.operation import Fields, Operation, Site


def _target(site: Site) -> Fields | None:
    return (
        {"y": site.operand(*site.shape), "signs": f"(2.0 * {site.index(2, *site.shape)} - 1)"} if site.shape else None
    )


def _classes(site: Site) -> Fields | None:
    """Samples first, classes on axis 1."""
    if len(site.shape) < 2 or site.shape[1] < 2:
        return None
    c = site.shape[1]
    spread = (site.shape[0], *site.shape[2:])
    return {"i": site.index(c, *spread), "w": f"({site.const(c)}.exp() + 0.2)", "p": site.operand(*site.shape)}


def _pairs(site: Site) -> Fields | None:
    if len(site.shape) != 2:
        return None
    b, c = site.shape
    return {
        "y": site.operand(b, c),
        "z": site.operand(b, c),
        "sign": f"(2 * {site.index(2, b)} - 1)",
        "signs": f"(2 * {site.index(2, b, c)} - 1)",
        "i": site.index(c, b),
        "pos": f"{site.const(c)}.exp()",
        "hot": f"{site.index(2, b, c)}.double()",
    }


_ANY = {
    "mse": 'F.mse_loss({a}, {y}, reduction="{r}")',
    "huber": 'F.huber_loss({a}, {y}, reduction="{r}", delta=0.7)',
    "smooth_l1": 'F.smooth_l1_loss({a}, {y}, reduction="{r}", beta=0.5)',
    "l1": 'F.l1_loss({a}.square(), {y}, reduction="{r}")',
    "bce": 'F.binary_cross_entropy(0.9 * torch.sigmoid({a}) + 0.05, torch.sigmoid({y}), reduction="{r}")',
    "bce with logits": 'F.binary_cross_entropy_with_logits({a}, torch.sigmoid({y}), reduction="{r}")',
    "poisson": 'F.poisson_nll_loss({a}, {y}.exp(), reduction="{r}")',
    "kl": 'F.kl_div(torch.log_softmax({a}, -1), torch.softmax({y}, -1), reduction="{r}")',
    "kl of logarithms": 'F.kl_div(F.logsigmoid({a}), F.logsigmoid({y}), reduction="{r}", log_target=True)',
    "soft margin": 'F.soft_margin_loss({a}, {signs}, reduction="{r}")',
    "hinge embedding": 'F.hinge_embedding_loss({a}.exp(), {signs}, reduction="{r}")',
}
_CLASSES = {
    "cross entropy": 'F.cross_entropy({a}, {i}, reduction="{r}")',
    "cross entropy with weights": 'F.cross_entropy({a}, {i}, {w}, reduction="{r}")',
    "cross entropy ignoring": 'F.cross_entropy({a}, {i}, ignore_index=1, reduction="{r}")',
    "cross entropy smoothed": 'F.cross_entropy({a}, {i}, label_smoothing=0.1, reduction="{r}")',
    "cross entropy of probabilities": 'F.cross_entropy({a}, torch.softmax({p}, 1), reduction="{r}")',
    "nll": 'F.nll_loss(torch.log_softmax({a}, 1), {i}, reduction="{r}")',
    "nll with weights ignoring": 'F.nll_loss(torch.log_softmax({a}, 1), {i}, {w}, ignore_index=0, reduction="{r}")',
}
_PAIRS = {
    "margin ranking": 'F.margin_ranking_loss({a}, {y}, {signs}, 0.3, reduction="{r}")',
    "cosine embedding": 'F.cosine_embedding_loss({a}, {y}, {sign}, 0.1, reduction="{r}")',
    "triplet": 'F.triplet_margin_loss({a}, {y}, {z}, 0.5, reduction="{r}")',
    "multi margin": 'F.multi_margin_loss({a}, {i}, reduction="{r}")',
    "multilabel soft margin": 'F.multilabel_soft_margin_loss({a}, {hot}, reduction="{r}")',
    "weighted bce": 'F.binary_cross_entropy_with_logits({a}, {hot}, {pos}, reduction="{r}")',
}
_PLAIN = {
    "mean squares": "{a}.square(){reduce}",
    "exponentials": "(0.5 * {a}).exp(){reduce}",
    "plain": "{a}{reduce}",
    "quartics": "({a} ** 4){reduce}",
    "log cosh": "torch.log(torch.cosh({a})){reduce}",
    "log of a softmax": "torch.log_softmax({a}.reshape({a}.shape[0], -1), 1)[:, 0]{reduce}",
}
_JUMPS = {
    "huber",
    "smooth_l1",
    "l1",
    "hinge embedding",
    "margin ranking",
    "cosine embedding",
    "triplet",
    "multi margin",
}

LOSSES = [
    Operation(name, text, draw, kinked=name in _JUMPS)
    for texts, draw in ((_ANY, _target), (_CLASSES, _classes), (_PAIRS, _pairs), (_PLAIN, lambda site: {}))
    for name, text in texts.items()
]
