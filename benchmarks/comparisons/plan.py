"""Which runs each comparison consists of, and the pages that quote them; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from curvestep.bench.config import RunConfig
from curvestep.bench.settings import LR_GRID, Wish, comparison

Rates = Sequence[float | None]
_FREE: Rates = (None,)


@final
@dataclass(frozen=True)
class Runs:
    """Methods on one task.

    Attributes:
        wish: the task and its settings, those of a learning rate included.
        methods: name → learning rates, None for a method that takes none.
        seeds: their number, counted from 0.
    """

    wish: Wish
    methods: dict[str, Rates]
    seeds: int = 3

    def configs(self) -> tuple[RunConfig, ...]:
        """The settings of all runs, in the order in which they are made."""
        return comparison(self.wish, [(name, lr) for name, rates in self.methods.items() for lr in rates], self.seeds)


@final
@dataclass(frozen=True)
class Comparison:
    """Run stores with what is in them, and the page that quotes them.

    Attributes:
        page: in the repository.
        stores: folder below `benchmarks/stores` → its runs.
    """

    page: str
    stores: dict[str, tuple[Runs, ...]]


def _small(task: str, **settings: int) -> Wish:
    """The small scale of a task."""
    return replace(Wish(task, scale="small"), **settings)


def _cosine(task: str, **settings: int) -> Wish:
    """The same with a warm-up of 30 steps and a cosine for learning rates."""
    return replace(_small(task, **settings), schedule="cosine", warmup=30)


def _free(*names: str) -> dict[str, Rates]:
    """Methods that take no learning rate."""
    return dict.fromkeys(names, _FREE)


def _beside_adamw(task: str, *rates: float, **settings: int) -> Runs:
    """Auto and AdamW's rates."""
    return Runs(_cosine(task, **settings), {**_free("auto", "auto-ceiling"), "adamw": rates})


_SPECIAL = _free("red-adam-geometric", "red-adam-guard", "red-adam-smoothed", "half-adam", "half-adam-guard")
_EVERY_FREE = {
    **_free(
        "auto", "auto-ceiling", "auto-uncurved", "red-sgd", "red-rmsprop", "red-adam", "red-sgd-ggn", "red-adam-ggn"
    ),
    **_free("red-sgd-momentum", "half-adam-averaged", "ran-sgd", "alig", "alig-momentum", "lqa", "gen"),
    **_SPECIAL,
}


def _every_method(wish: Wish, adam: float) -> Runs:
    """All methods; those of Adam's family that need a rate at this one, those of SGD's at 0.1."""
    slow: dict[str, Rates] = dict.fromkeys(("sgd", "eg-sgd", "egdd", "step-tuned"), (0.1,))
    fast: dict[str, Rates] = {"adamw": (adam,), "eg-adam": (adam,), "rmsprop": (1e-3,)}
    return Runs(wish, {**_EVERY_FREE, **slow, **fast})


_RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
_GRID = _free("ceiling-1-all", "ceiling-16-quarter-0.8")
_WHOLE_GRID = {**_GRID, **_free("ceiling-16-quarter-0.7", "ceiling-16-quarter-0.9", "ceiling-32-quarter-0.5")}

COMPARISONS: dict[str, Comparison] = {
    "first": Comparison(
        "docs/first.md",
        {
            "mnist-lenet": (Runs(Wish("mnist-lenet", epochs=20), {"red-sgd": _FREE, "sgd": LR_GRID}),),
            "shakespeare-gpt": (
                Runs(
                    _cosine("shakespeare-gpt"),
                    {**_free("red-adam", "red-adam-geometric"), "adamw": (1e-3, 3e-3, 5e-3, 1e-2)},
                ),
            ),
        },
    ),
    "auto": Comparison(
        "docs/auto.md",
        {
            "auto/mnist-vit": (_beside_adamw("mnist-vit", *_RATES),),
            "auto/shakespeare-lstm": (_beside_adamw("shakespeare-lstm", *_RATES, epochs=10),),
            "auto/cifar10-resnet": (_beside_adamw("cifar10-resnet", 1e-3, 3e-3, 1e-2),),
            "auto/mnist-autoencoder": (_beside_adamw("mnist-autoencoder", *_RATES),),
            "auto/shakespeare-gpt": (_beside_adamw("shakespeare-gpt", 1e-3, 3e-3, 5e-3, 1e-2),),
            "auto/cifar10-vgg11-relu": (_beside_adamw("cifar10-vgg11-relu", 1e-3, 3e-3, epochs=6, subset=5000),),
            "auto/digits-mlp": (
                Runs(
                    _cosine("digits-mlp", epochs=55),
                    {
                        **_free("auto", "auto-ceiling", "auto-uncurved", "half-adam-averaged"),
                        "adamw": (1e-3, 3e-3, 1e-2, 3e-2),
                    },
                ),
            ),
            "auto/mnist-lenet": (_beside_adamw("mnist-lenet", *_RATES, epochs=20),),
            "auto/cifar10-resnet-plain": (
                _beside_adamw("cifar10-resnet-plain", 3e-3, 1e-2),
                Runs(_cosine("cifar10-resnet-plain"), {"adamw": (3e-4, 1e-3, 3e-2)}, seeds=1),
            ),
        },
    ),
    "horizons": Comparison(
        "docs/auto.md",
        {
            "horizons": tuple(
                Runs(
                    _cosine("digits-mlp", epochs=epochs),
                    {
                        **_free("auto", "auto-ceiling", "red-sgd", "red-adam", "red-adam-geometric"),
                        "adamw": (1e-2, 3e-2),
                    },
                )
                for epochs in (10, 20, 40, 80)
            )
        },
    ),
    "all-methods": Comparison(
        "docs/all-methods.md",
        {
            "all/mnist-lenet": (_every_method(_small("mnist-lenet", epochs=10), adam=1e-3),),
            "all/shakespeare-gpt": (_every_method(_small("shakespeare-gpt", steps=150), adam=3e-3),),
        },
    ),
    "measured": Comparison(
        "docs/measuring.md",
        {
            "measured/mnist-lenet": (Runs(_small("mnist-lenet", epochs=20), _WHOLE_GRID, seeds=5),),
            "measured/shakespeare-gpt": (Runs(_small("shakespeare-gpt"), _GRID),),
            "measured/cifar10-vgg11": (Runs(_small("cifar10-vgg11"), _GRID, seeds=2),),
        },
    ),
}
