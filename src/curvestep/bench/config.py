"""The settings of one run: a frozen record with a key that says whether the run is already in a store."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

# L2 strength of the benchmark (design of the source paper's table of parameters: the same for every task).
DEFAULT_WEIGHT_DECAY = 1e-7


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides what a run computes; two runs with equal settings are the same run.

    Where the data lies and how many threads work on it change the seconds but not the definition of the run, so they
    are not part of it.
    """

    task: str  # name of the task
    method: str  # name of the method
    scale: str  # ``paper`` or ``small``
    seed: int  # decides the initial weights and the order of the batches, equally for every method
    epochs: int  # number of passes over the training data (see ``steps``)
    batch_size: int  # examples in a batch
    steps: int | None = None  # total number of steps; None means ``epochs`` full epochs, otherwise the run ends there
    subset: int | None = None  # number of training examples kept; None means all that the scale uses
    lr: float | None = None  # learning rate of a method that needs one, else None
    decay: float = 1.0  # factor on the learning rate after each epoch, in (0, 1] (schedule ``exponential``)
    schedule: str = "exponential"  # ``exponential`` or ``cosine``
    warmup: int = 0  # number of steps of linear warm-up (schedule ``cosine``)
    weight_decay: float = DEFAULT_WEIGHT_DECAY  # λ of the term λ/2·‖θ‖²
    device: str = "cpu"  # where torch computes, as in ``cpu``, ``cuda`` or ``cuda:1``

    def to_json(self) -> dict[str, Any]:
        """The settings as a JSON object."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RunConfig:
        """Return the settings that `to_json` gave.

        Raises:
            ValueError: if a field is missing or unknown.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if set(data) != names:
            raise ValueError(f"The settings of a run have the fields {sorted(names)}, this record has {sorted(data)}.")
        return cls(**data)

    @property
    def key(self) -> str:
        """16 hexadecimal digits that are equal exactly for equal settings."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def label(self) -> str:
        """The method with the settings a reader must know to run it: ``sgd, lr 0.5`` or ``red-sgd``."""
        parts = [self.method]
        if self.lr is not None:
            parts.append(f"lr {self.lr:g}")
            if self.schedule == "cosine":
                parts.append("cosine")
            elif self.decay != 1.0:
                parts.append(f"decay {self.decay:g}")
        return ", ".join(parts)

    @property
    def setting(self) -> RunConfig:
        """The same settings without seed and method: runs that share it may be drawn in one panel."""
        return dataclasses.replace(
            self, method="", seed=0, lr=None, decay=1.0, schedule="exponential", warmup=0, device=self.device
        )
