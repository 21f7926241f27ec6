"""The database of models: one row an architecture, at tiny size, with random weights and its own forward."""

from __future__ import annotations

from tests.models import decoders, encoders, generative, pictures, scientific, senses, sequences, structured
from tests.models.row import Model as Model

ROWS: list[Model] = [
    row
    for part in (decoders, encoders, senses, sequences, pictures, generative, structured, scientific)
    for row in part.ROWS
]
