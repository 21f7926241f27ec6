"""What holding a recording costs in memory."""

from __future__ import annotations
