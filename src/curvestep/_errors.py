"""The sentences in which curvestep refuses: every exception class of the library."""

from __future__ import annotations


class CurvestepError(RuntimeError):
    """Base class of every refusal of curvestep; its message says what was needed, what was given and what to do."""


class RecordingError(CurvestepError):
    """A recording is missing, incomplete, used twice, or was made stale by an in-place write."""


class MissingRuleError(CurvestepError):
    """An operation on the path from a parameter to the loss has no derivative rule."""


class DirectionError(CurvestepError, ValueError):
    """A direction does not match the parameters in number, shape, dtype or device."""


class SampleAxisError(CurvestepError):
    """The number of samples that was stated is not that of any tensor on the way to the loss."""
