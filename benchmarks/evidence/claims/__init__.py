"""The claims of the curvature paper as functions of its store: held, not held, or not enough runs.

Every rule and every threshold in these files was written down before the store had a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.evidence.claims.average import average_verdict
from benchmarks.evidence.claims.batches import collapse_verdict, repair_verdict
from benchmarks.evidence.claims.momentum import descent_verdict, struggle_verdict
from benchmarks.evidence.claims.phases import phase_verdict
from benchmarks.evidence.claims.probe import probe_verdict
from benchmarks.evidence.claims.rivals import decay_verdict, step_tuned_verdict
from benchmarks.evidence.claims.seconds import seconds_verdict
from benchmarks.evidence.claims.training import growing_step_verdict, training_verdict
from benchmarks.paper.parts import mnist_panels
from benchmarks.paper.plan import ScaleName, figures
from benchmarks.paper.times import TimeRow
from benchmarks.verdict import Verdict
from curvestep.bench.record import RunRecord


def paper_verdicts(
    scale: ScaleName, runs: Mapping[str, RunRecord], times: Sequence[TimeRow]
) -> tuple[tuple[str, Verdict], ...]:
    """All claims of the paper's section 4 and appendix C.

    Args:
        scale: of the runs.
        runs: of its store, by key.
        times: rows of its table 3.

    Returns:
        Each with the figure or table that it is read off.
    """
    panels = figures(scale)["fig2"].panels
    return (
        ("fig2", training_verdict(panels, runs)),
        ("fig2", growing_step_verdict(panels, runs)),
        ("fig3", phase_verdict(scale, runs)),
        ("fig4", probe_verdict(scale, runs)),
        ("fig5", average_verdict(scale, runs)),
        ("fig6", struggle_verdict(scale, runs)),
        ("fig6", descent_verdict(scale, runs)),
        ("fig7", collapse_verdict(scale, runs)),
        ("fig7", repair_verdict(scale, runs)),
        ("fig8", decay_verdict(scale, runs)),
        ("fig9", step_tuned_verdict(scale, runs)),
        ("table3", seconds_verdict(scale, times)),
    )


def mnist_verdicts(runs: Mapping[str, RunRecord]) -> tuple[Verdict, ...]:
    """The claims of figure 2 on MNIST at the source's scale, where the tuned methods have the coarse grid.

    Args:
        runs: of the store of that scale, by key.

    Returns:
        The verdicts, by the same rules as at the small scale.
    """
    return training_verdict(mnist_panels(), runs), growing_step_verdict(mnist_panels(), runs)
