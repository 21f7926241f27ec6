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

    Args:
        task: name of the task.
        method: name of the method.
        scale: ``paper`` or ``small``.
        seed: decides the initial weights and the order of the batches, equally for every method.
        epochs: number of passes over the training data (see ``steps``).
        batch_size: examples in a batch.
        steps: total number of steps; None means ``epochs`` full epochs, otherwise the run ends there.
        subset: number of training examples kept; None means all that the scale uses.
        lr: learning rate of a method that needs one, else None.
        decay: factor on the learning rate after each epoch, in (0, 1] (schedule ``exponential``).
        schedule: ``exponential`` or ``cosine``.
        warmup: number of steps of linear warm-up (schedule ``cosine``).
        weight_decay: λ of the term λ/2·‖θ‖².
        device: where torch computes, as in ``cpu``, ``cuda`` or ``cuda:1``.
    """

    task: str
    method: str
    scale: str
    seed: int
    epochs: int
    batch_size: int
    steps: int | None = None
    subset: int | None = None
    lr: float | None = None
    decay: float = 1.0
    schedule: str = "exponential"
    warmup: int = 0
    weight_decay: float = DEFAULT_WEIGHT_DECAY
    device: str = "cpu"

    def to_json(self) -> dict[str, Any]:
        """The settings as a JSON object."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RunConfig:
        """The settings read back.

        Args:
            data: what ``to_json`` gave.

        Returns:
            The settings.

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
