"""Rows of curvestep.engine.rules.attention."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.engine.ops.row import Draw, Row, coin, fixed, normal

QKV: list[Draw] = [normal(3, 2, 5, 4), normal(3, 2, 5, 4), normal(3, 2, 5, 4)]
CROSS: list[Draw] = [normal(3, 2, 4, 6), normal(3, 2, 7, 6), normal(3, 2, 7, 6)]
KERNEL = "aten._scaled_dot_product_flash_attention_for_cpu.default"


def attention(**options: Any) -> Any:
    def run(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is not None and mask.dtype == torch.bool:
            mask = mask.clone()
            mask[..., 0] = True  # every query sees one key at least
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, **options)

    return run


def kernel(desc: str, inputs: list[Any], **options: Any) -> Row:
    return Row(KERNEL, attention(**options), inputs, desc, sampled=(0, 1, 2))


def grouped(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


ROWS = [
    kernel("plain", QKV),
    kernel("causal", QKV, is_causal=True),
    kernel("scale", QKV, scale=0.7),
    kernel("cross", CROSS),
    kernel("bool mask", [*QKV, coin(3, 1, 5, 5)]),
    kernel("bool mask for all", [*QKV, coin(5, 5)]),
    kernel("float mask", [*CROSS, fixed(normal(1, 1, 4, 7))]),
    kernel("float mask a head, scale", [*CROSS, fixed(normal(3, 2, 4, 7))], scale=1.3),
    Row(
        "aten._safe_softmax.default",
        attention(is_causal=True),
        [normal(3, 5, 4)] * 3,
        "attention without heads",
        sampled=(0, 1, 2),
    ),
    Row(
        KERNEL,
        grouped,
        [normal(3, 4, 5, 4), normal(3, 2, 5, 4), normal(3, 2, 5, 4)],
        "grouped queries",
        sampled=(0, 1, 2),
    ),
    Row("aten._softmax.default", lambda x: torch.softmax(x, -1), [normal(3, 5)]),
    Row("aten._softmax.default", lambda x: torch.softmax(x, 1), [normal(3, 5, 2)], "middle axis"),
    Row("aten._softmax.default", lambda x: torch.softmax(x, 0), [normal(3, 5)], "over the samples", exact=None),
    Row("aten._log_softmax.default", lambda x: torch.log_softmax(x, -1), [normal(3, 5)]),
    Row("aten._log_softmax.default", lambda x: torch.log_softmax(x, -2), [normal(3, 5, 2)], "middle axis"),
    Row(
        "aten._safe_softmax.default",
        lambda x: torch._safe_softmax(x, -1),
        [normal(3, 5)],
        explicit=lambda x: torch.softmax(x, -1),
    ),
]
