"""Figure 4: a linear classifier on frozen features, with small and large batches."""

from __future__ import annotations

import math
from collections.abc import Mapping

from benchmarks.evidence.claims.ends import Ends, judged, mean
from benchmarks.evidence.claims.training import line_of
from benchmarks.paper.plan import ScaleName, figures, probe_batches
from benchmarks.verdict import Verdict
from curvestep.bench.record import RunRecord

#: Augmentation and smoothing "change little" where they move the mean test accuracy by at most this.
LITTLE = 0.02


def probe_verdict(scale: ScaleName, runs: Mapping[str, RunRecord]) -> Verdict:
    """Whether small batches stop lower, tricks change little, and a cosine of ℓ helps small batches alone."""
    ends = Ends(runs)
    panels = figures(scale)["fig4"].panels
    sizes = probe_batches(scale)
    titles = [panel.title for panel in panels]
    lines = [f"| batch | {' | '.join(f'{title}: test accuracy' for title in titles)} |", f"|--:|{'--:|' * len(titles)}"]
    found: dict[tuple[int, int], float] = {}
    for size in sizes:
        cells: list[str] = []
        for column, panel in enumerate(panels):
            values = ends.losses(line_of(panel, f"batch {size}"), "test_accuracy")
            if values is not None:
                # A run that diverged guesses: its accuracy counts as none.
                kept = [value if math.isfinite(value) else 0.0 for value in values]
                found[size, column] = mean(kept)
                away = sum(not math.isfinite(value) for value in values)
                cells.append(f"{found[size, column]:.3f}" + (f" ({away} diverged)" if away else ""))
            else:
                cells.append("–")
        lines.append(f"| {size} | {' | '.join(cells)} |")
    held: list[bool | None] = [None, None, None]
    remark = ends.remark
    small, large = sizes[0], sizes[-1]
    if len(found) == len(sizes) * len(panels):
        lower = found[small, 0] < found[large, 0]
        little = all(abs(found[size, 1] - found[size, 0]) <= LITTLE for size in sizes)
        gains = found[small, 2] - found[small, 1], found[large, 2] - found[large, 1]
        held = [lower, little, gains[0] > 0.0 and gains[0] > gains[1]]
        remark = (
            f"The smallest batch {'stops' if lower else 'does not stop'} below the largest "
            f"({found[small, 0]:.3f}, {found[large, 0]:.3f}); augmentation and smoothing change "
            f"{'little' if little else 'more'}; the cosine gains {100 * gains[0]:+.1f} points with the smallest batch "
            f"and {100 * gains[1]:+.1f} with the largest."
        )
    return Verdict(
        "At ℓ = ½ small batches stop at a lower accuracy; smoothing and augmentation change little; a cosine helps",
        f"Held if the mean test accuracy at batch {small} is below that at {large}; at no batch augmentation with "
        f"smoothing moves it by more than {100 * LITTLE:g} points; and the cosine raises it at batch {small}, by more "
        f"than at {large}.",
        judged(held, len(held)),
        "\n".join(lines),
        remark,
    )
