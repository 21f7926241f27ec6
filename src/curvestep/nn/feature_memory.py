"""A memory of features in front of a classifier, so that small batches show it many classes at once."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn

_FEATURES = "features"
_TARGETS = "target_values"


@final
class FeatureMemory(nn.Module):
    """Replay the features of earlier samples to the classifier, with their targets.

    A batch smaller than the number of classes lacks some of them; the gradient of the last layer then does not contain
    these classes, and the curvature is too small. Set between the feature extractor φ and the classifier
    h, this layer appends to the B features of the batch the (k-1)·B newest ones of earlier batches, without their
    graph. With targets t and the mean-reduced loss ℓ, the loss that is trained becomes::

        J(θ) = (1/B) Σ_s J_s(θ),    J_s = (1/k) [ ℓ(h(φ(x_s)), t_s) + Σ_{j ∈ M_s} ℓ(h(f_j), t_j) ]

        k = min(⌊size/B⌋, 1 + ⌊stored/B⌋), at least 1

    where M_s are k-1 remembered pairs (f_j, t_j), another k-1 for every s. Rows are ordered by s, the sample of the
    batch before its remembered ones; so the split of J over samples, which the engine measures, stays exact, with as
    many samples as the batch has.

    It fits into any classifier without a change of ``forward``; the targets pass through ``targets``::

        memory = FeatureMemory(256)
        model.fc = nn.Sequential(memory, model.fc)

        with optimizer.record():
            logits = model(inputs)                      # (k·B, classes)
            loss = F.cross_entropy(logits, memory.targets(targets))
            loss.backward()
        optimizer.step()

    In evaluation mode both are the identity and nothing is stored. ``logits[memory.own_rows(len(logits))]`` are those
    of the batch itself.

    ===========  =================  ===================================================
    symbol       name               meaning
    ===========  =================  ===================================================
    ``size``     size               rows that the classifier sees at most, 256 in the paper
    f, t         features, targets  remembered, newest first; buffers in ``state_dict``
    k            –                  rows of the classifier for each sample of the batch
    ===========  =================  ===================================================

    Args:
        size: Rows that the classifier sees, a whole number ≥ 1; batches of more than half of it pass unchanged.

    Raises:
        ValueError: ``size`` is not a whole number ≥ 1.

    Cost:
        ``size`` feature vectors and targets; the classifier works on k times as many rows, the extractor on as many as
        before.

    Example:
        >>> import torch
        >>> memory = FeatureMemory(4)
        >>> memory(torch.tensor([[1.0], [2.0]])).tolist(), memory.targets(torch.tensor([0, 1])).tolist()
        ([[1.0], [2.0]], [0, 1])
        >>> memory(torch.tensor([[3.0], [4.0]])).tolist(), memory.targets(torch.tensor([2, 3])).tolist()
        ([[3.0], [1.0], [4.0], [2.0]], [2, 0, 3, 1])

    Source:
        de Gournay, Gossard, Adaptive scaling of the learning rate by second order automatic differentiation,
        appendix C.2.

    Deviations:
        Only ⌊size/B⌋·B rows are shown, a multiple of the batch, which the exact split needs; the paper does not say
        how samples are counted. The mean is over all rows, as in the paper's text, so the gradient of the extractor is
        k times smaller than without memory, and that of the classifier is not: this changes the plain gradient, but not
        directions that are scaled coordinate by coordinate (RMSprop, Adam).
    """

    features: Tensor
    target_values: Tensor

    def __init__(self, size: int) -> None:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"size is the number of rows that the classifier sees and ≥ 1, but {size!r} was given.")
        super().__init__()
        self.size = size
        # Shapes and dtypes come with the first batch, or with a state_dict.
        self.register_buffer(_FEATURES, torch.empty(0))
        self.register_buffer(_TARGETS, torch.empty(0))
        self.register_load_state_dict_pre_hook(_take_shapes)
        self._waiting: Tensor | None = None
        self._repeats = 1

    def forward(self, features: Tensor) -> Tensor:
        """Append remembered features.

        Args:
            features: (B, …), what the classifier takes.

        Returns:
            (k·B, …) in training mode, ``features`` in evaluation mode.

        Raises:
            ValueError: The features have another shape than the remembered ones.
        """
        if not self.training:
            return features
        batch = len(features)
        if len(self.features) and self.features.shape[1:] != features.shape[1:]:
            raise ValueError(
                f"The memory holds features of shape {tuple(self.features.shape[1:])}, but a batch came with shape "
                f"{tuple(features.shape[1:])}; empty it with clear(), or use one memory for each classifier."
            )
        self._waiting = features.detach()
        self._repeats = max(1, min(self.size // max(batch, 1), 1 + len(self.features) // max(batch, 1)))
        return _interleaved(features, self.features, self._repeats)

    def targets(self, targets: Tensor) -> Tensor:
        """Append the targets of the remembered features, and remember the last batch.

        Args:
            targets: (B, …), those of the batch that ``forward`` saw last.

        Returns:
            (k·B, …) in training mode, ``targets`` in evaluation mode.

        Raises:
            ValueError: There was no such batch since the last call, or one of another size.
        """
        if not self.training:
            return targets
        waiting, self._waiting = self._waiting, None
        if waiting is None or len(waiting) != len(targets):
            seen = "none since the last call" if waiting is None else f"one of {len(waiting)} samples"
            raise ValueError(
                f"targets() needs the batch of features that belongs to these {len(targets)} targets, but the memory "
                f"has seen {seen}; call the model in training mode, then targets() once."
            )
        shown = _interleaved(targets, self.target_values, self._repeats)
        with torch.no_grad():
            # New tensors, never written to: a recording may still hold the old ones.
            self.features = _newest(waiting, self.features, self.size)
            self.target_values = _newest(targets.detach(), self.target_values, self.size)
        return shown

    def own_rows(self, rows: int) -> slice:
        """Say which rows of the classifier's output are those of the batch.

        Args:
            rows: Length of that output, k·B.

        Returns:
            Every k-th row in training mode, all in evaluation mode.
        """
        return slice(0, rows, self._repeats if self.training else 1)

    def clear(self) -> None:
        """Forget everything, as after construction."""
        self.features = self.features.new_empty(0)
        self.target_values = self.target_values.new_empty(0)
        self._waiting = None

    def extra_repr(self) -> str:
        """Show the size.

        Returns:
            The text between the parentheses of the module's name.
        """
        return str(self.size)


def _take_shapes(memory: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Take the shapes from a state before it is loaded; it may hold another number of rows."""
    assert isinstance(memory, FeatureMemory)
    for name in (_FEATURES, _TARGETS):
        stored = state_dict.get(prefix + name)
        if stored is not None:
            setattr(memory, name, torch.empty_like(stored, device=getattr(memory, name).device))
    memory._waiting = None


def _interleaved(batch: Tensor, remembered: Tensor, repeats: int) -> Tensor:
    """Return each row of the batch followed by repeats-1 remembered ones, different for each row."""
    if repeats == 1:
        return batch
    shape = (len(batch), repeats - 1, *batch.shape[1:])
    own = remembered[: len(batch) * (repeats - 1)].reshape(shape).to(batch.dtype)
    return torch.cat([batch.unsqueeze(1), own], 1).flatten(0, 1)


def _newest(batch: Tensor, remembered: Tensor, size: int) -> Tensor:
    """Return the newest rows, this batch's first."""
    if not len(remembered):
        return batch[:size].clone()
    return torch.cat([batch, remembered.to(batch.dtype)])[:size]
