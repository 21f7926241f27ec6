"""`curvestep.Auto` with other numbers of samples and other intervals between two measurements."""

from __future__ import annotations

from curvestep.bench.methods.method import BuildRequest, Built, Method

#: Steps from one measurement to the next, and the share of the batch that is measured (None: all of it).
_GRID: tuple[tuple[int, float | None], ...] = (
    (1, None),
    (8, None),
    (16, None),
    (8, 1 / 4),
    (16, 1 / 4),
    (32, 1 / 4),
    (16, 1 / 8),
)
_NAMES = {None: "all", 1 / 4: "quarter", 1 / 8: "eighth"}


def _method(every: int, share: float | None) -> Method:
    """The method of one cell of the grid."""

    def build(request: BuildRequest) -> Built:
        import curvestep

        optimizer = curvestep.Auto(request.parameters, weight_decay=request.weight_decay)
        for group in optimizer.param_groups:
            group["curvature_every"] = every
            group["curvature_samples"] = share
        return Built(optimizer, optimizer, averaged=optimizer.averaged)

    what = "all samples" if share is None else f"one {_NAMES[share]} of the samples"
    when = "every step" if every == 1 else f"every {every}th step"
    return Method(f"auto-{every}-{_NAMES[share]}", f"auto measured on {when}, {what}", False, build)


MEASURED: tuple[Method, ...] = tuple(_method(every, share) for every, share in _GRID)
