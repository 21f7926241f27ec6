"""Rows of curvestep.engine.rules.index."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from tests.engine.ops.row import Row, integers, normal

arange = torch.arange(3)

ROWS = [
    Row("aten.embedding.default", lambda i, w: F.embedding(i, w), [integers(7)(3, 5), normal(7, 2)], sampled=(0,)),
    Row("aten.embedding.default", lambda i, w: F.embedding(i, w * w), [integers(7)(3), normal(7, 2)], "bent table"),
    Row(
        "aten.embedding.default",
        lambda i, w: F.embedding(i, w, padding_idx=0),
        [integers(3)(3, 5), normal(7, 2)],
        "padding index",
        smooth=False,
    ),  # autograd holds the padding row fixed, central differences do not
    Row(
        "aten.embedding.default",
        lambda i, w: F.embedding(i, w, scale_grad_by_freq=False),
        [integers(7)(3, 2, 5), normal(7, 4)],
        "three axes",
    ),
    Row("aten.gather.default", lambda x, i: x.gather(1, i), [normal(3, 5), integers(5)(3, 2)]),
    Row("aten.gather.default", lambda x, i: x.gather(-1, i), [normal(3, 4, 5), integers(5)(3, 4, 2)], "last axis"),
    Row("aten.index_select.default", lambda x: x.index_select(1, torch.tensor([2, 0, 0, 3])), [normal(3, 5)]),
    Row("aten.index_select.default", lambda i, w: w.index_select(0, i), [integers(7)(3), normal(7, 2)], "of weights"),
    Row("aten.index.Tensor", lambda x, i: x[arange, i], [normal(3, 5), integers(5)(3)], "one of each sample"),
    Row("aten.index.Tensor", lambda x: x[:, torch.tensor([1, 1, 4])], [normal(3, 5)], "columns"),
    Row("aten.index.Tensor", lambda x: x[:, torch.tensor([0, 2]), torch.tensor([1, 1])], [normal(3, 4, 2)], "pairs"),
    Row("aten.index.Tensor", lambda i, w: w[i], [integers(7)(3, 5), normal(7, 2)], "of weights"),
    Row("aten.index.Tensor", lambda x: x[torch.tensor([2, 0, 1])], [normal(3, 5)], "permuted samples", exact=None),
    Row("aten.index.Tensor", lambda x: x[:, torch.tensor([True, False, True, True])], [normal(3, 4)], "by a mask"),
]
