"""Runs of the benchmark, method beside method, and the tables that pages quote of them."""

from __future__ import annotations
