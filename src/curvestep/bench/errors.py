"""The refusals of the benchmark layer, each a full sentence for the person at the keyboard."""

from __future__ import annotations

from curvestep._errors import CurvestepError


class BenchError(CurvestepError):
    """Base class of what the command line prints as one sentence instead of a traceback."""


class SettingError(BenchError, ValueError):
    """A setting of a run is unknown, out of range, or does not fit the others."""


class DataError(BenchError):
    """A data set is missing, broken, or not what the task expects."""


class StoreError(BenchError):
    """A run store is missing, empty, or cannot be written."""


class BenchWarning(UserWarning):
    """Base class of what the command line prints as one line: something was repaired or skipped, the work goes on."""


class StoreWarning(BenchWarning):
    """A line of a run store could not be read and was skipped."""


class CacheWarning(BenchWarning):
    """A cached data set could not be read or written."""
