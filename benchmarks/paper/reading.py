"""What the runs of MNIST at the source's size say with the first seed; a test holds the numbers to the store."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.paper.parts import mnist_panels
from benchmarks.paper.store import line_runs
from curvestep.bench.record import RunRecord

#: The lines that the reading speaks of.
READ = ("red-sgd", "red-rmsprop", "sgd")
_READING = (
    "### What the first seed says",
    "",
    "- **Training loss**: from the second epoch on both directions of RED are below SGD with the best pair of the "
    "coarse grid, and they end at a third of its loss. Nothing was tuned for them. With the gradients that SGD's grid "
    "alone took, either of them is at SGD's last loss three times over.",
    "- **What the loss is made of**: late in a run much of it is the L2 term, 1.98e-5 of 2.08e-5 after 162 epochs of "
    "RED-RMSprop, 2.5e-5 of 6.6e-5 after 181 epochs of SGD. Where all methods fit the data, a ratio of such losses "
    "says as much of the norm of the weights as of the fit.",
    "- **Test data**: from the tenth epoch on RED is behind SGD in test loss, 0.083 beside 0.077 at the end; all three "
    "were at 0.06 after 8 to 13 epochs. In test accuracy it ends 0.15 points ahead.",
    "- **Step**: the step of RED-SGD falls for seven epochs, to 0.65, then grows to 240 in the 66th and stays near "
    "100. That of RED-RMSprop falls from 0.0025 to 0.0008 in the eighth, grows to 0.0033 in the 32nd, and then falls a "
    "hundredfold: it does grow, but after a quarter of the epochs it is shorter than in the first.",
    "",
)


def reading(runs: Mapping[str, RunRecord]) -> list[str]:
    """The reading, where its runs are there.

    Args:
        runs: by key.

    Returns:
        Lines of Markdown.
    """
    found = [line_runs(line, runs) for line in mnist_panels()[0].lines if line.label in READ]
    return list(_READING) if all(found) else []
