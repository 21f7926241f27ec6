"""Modules for models whose steps are measured: a memory for small batches, statistics for averaged weights."""

from __future__ import annotations

from curvestep.nn.batch_norm import keep_batch_norm as keep_batch_norm
from curvestep.nn.batch_norm import refresh_batch_norm as refresh_batch_norm
from curvestep.nn.feature_memory import FeatureMemory as FeatureMemory

__all__ = ["FeatureMemory", "keep_batch_norm", "refresh_batch_norm"]
