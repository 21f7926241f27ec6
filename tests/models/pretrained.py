"""How a row is made of a model of HF `transformers`: from its configuration, with random weights, no download."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from tests.models.row import Case, Model, trained

BATCH, LENGTH, VOCABULARY, CLASSES = 3, 7, 29, 5
Inputs = Callable[[], dict[str, Tensor]]
Terms = Callable[[Any, dict[str, Tensor]], Tensor]


class StayDouble(TorchFunctionMode):
    """Turns every request for float32 into one for float64.

    Many models compute norms, softmax and logits in float32 whatever their dtype is. That is their rounding, not
    their mathematics: with it no two correct computations of a float64 model agree beyond 1e-7.
    """

    def __init__(self, explicit: bool = False) -> None:
        super().__init__()
        self.explicit = explicit  # also write the fused weight normalisation out: its double backward is wrong

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.float:
            func = Tensor.double
        if func is torch._weight_norm and self.explicit:
            v, g, dim = args
            return g * v / v.norm(dim=[d for d in range(v.dim()) if d != dim % v.dim()], keepdim=True)
        args = tuple(torch.float64 if a is torch.float32 else a for a in args)
        options = {k: torch.float64 if v is torch.float32 else v for k, v in (kwargs or {}).items()}
        return func(*args, **options)


def pretrained(
    name: str,
    architecture: str,
    options: dict[str, Any],
    inputs: Inputs,
    terms: Terms,
    *,
    family: str,
    training: bool = True,
    loss: Callable[[Any], Tensor] = lambda out: out.loss,
    smooth: bool = True,
    exact: bool = True,
    refused: str = "",
    whole: str = "",
    note: str = "",
) -> Model:
    """A row: `architecture` is the class of the model, `options` are those of its configuration.

    Args:
        name: of the family.
        architecture: the name of a model class of `transformers`.
        options: of its configuration.
        inputs: draws the keyword arguments of the forward.
        terms: J_s, shape (B,), from the output and the inputs.
        family: heading of the table.
        training: train or eval mode.
        loss: J from the output.
        smooth, exact, refused, whole, note: as in `Model`.

    Returns:
        The row.
    """
    build = partial(_build, architecture, options, inputs, terms, loss, training)
    needs = ("transformers",)
    return Model(name, family, build, smooth, exact, needs, refused, whole, note)


def _build(
    architecture: str,
    options: dict[str, Any],
    inputs: Inputs,
    terms: Terms,
    loss: Callable[[Any], Tensor],
    training: bool,
) -> Case:
    model = instance(architecture, options).train(training)
    given = inputs()
    default = model.config._attn_implementation

    def run() -> Tensor:
        with StayDouble():
            return loss(model(**given))

    def explicit() -> Tensor:
        if default == "sdpa":
            model.set_attn_implementation("eager")
        try:
            with StayDouble(explicit=True):
                return terms(model(**given), given)
        finally:
            if default == "sdpa":
                model.set_attn_implementation("sdpa")

    return Case(trained(model), run, explicit)


def instance(architecture: str, options: dict[str, Any]) -> Any:
    """A model with random weights in float64."""
    import transformers

    transformers.logging.set_verbosity_error()
    cls: Any = getattr(transformers, architecture)
    model: nn.Module = cls(cls.config_class(**options))
    return model.double()


# -- inputs -----------------------------------------------------------------------------------------------------------


def tokens(length: int = LENGTH) -> Tensor:
    return torch.randint(3, VOCABULARY, (BATCH, length))


def causal() -> dict[str, Tensor]:
    """Sequences that are their own labels."""
    ids = tokens()
    return {"input_ids": ids, "labels": ids.clone()}


def padded() -> dict[str, Tensor]:
    """Sequences of several lengths, padded on the right, that are their own labels."""
    ids, mask = tokens(), torch.ones(BATCH, LENGTH, dtype=torch.long)
    mask[1, 5:] = mask[2, 4:] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}


def masked() -> dict[str, Tensor]:
    """Labels at two positions in seven, and padding."""
    given = padded()
    chosen = torch.zeros(BATCH, LENGTH, dtype=torch.bool)
    chosen[0, [1, 4]] = chosen[1, [0, 3]] = chosen[2, [2, 3]] = True
    return {**given, "labels": given["labels"].masked_fill(~chosen, -100)}


def classed() -> dict[str, Tensor]:
    given = padded()
    return {**given, "labels": torch.tensor([0, 2, 4])}


def translated() -> dict[str, Tensor]:
    """Source sequences with padding, target sequences of another length."""
    given = padded()
    return {**given, "labels": tokens(5)}


def pictures(size: int, channels: int = 3) -> Inputs:
    return lambda: {"pixel_values": torch.randn(BATCH, channels, size, size), "labels": torch.tensor([0, 2, 4])}


# -- losses of each sample --------------------------------------------------------------------------------------------


def token_terms(logits: Tensor, labels: Tensor) -> Tensor:
    """−log p of the labelled tokens of each sample, over a B-th of the number of labels: the mean is theirs."""
    each = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=-100, reduction="none")
    return each.sum(1) * len(labels) / (labels != -100).sum()


def next_token(out: Any, given: dict[str, Tensor]) -> Tensor:
    return token_terms(out.logits[:, :-1], given["labels"][:, 1:])


def each_token(out: Any, given: dict[str, Tensor]) -> Tensor:
    return token_terms(out.logits, given["labels"])


def each_class(out: Any, given: dict[str, Tensor]) -> Tensor:
    return F.cross_entropy(out.logits, given["labels"], reduction="none")
