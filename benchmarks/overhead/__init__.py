"""What a measured step costs: times, peaks and products over those of a plain step, beside other ways."""

from __future__ import annotations
