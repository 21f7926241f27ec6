"""How the cost of a measured step grows with the model, and what a model of that cost says about larger ones."""

from __future__ import annotations
