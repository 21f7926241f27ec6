"""Random programs under the engine, beside truths that it does not make: `tests.fuzz` by the hour."""

from __future__ import annotations
