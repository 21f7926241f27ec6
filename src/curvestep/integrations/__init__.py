"""Recording without a place in the loop, for trainers that own it."""

from __future__ import annotations

from curvestep.integrations.attach import Attachment as Attachment
from curvestep.integrations.attach import attach as attach

__all__ = ["Attachment", "attach"]
