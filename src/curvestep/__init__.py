"""Step sizes for PyTorch training, measured from the curvature of the loss instead of tuned."""

from __future__ import annotations

from curvestep._errors import CurvestepError as CurvestepError
from curvestep._errors import DirectionError as DirectionError
from curvestep._errors import MissingRuleError as MissingRuleError
from curvestep._errors import RecordingError as RecordingError
from curvestep._errors import SampleAxisError as SampleAxisError
from curvestep.engine import Curvature as Curvature
from curvestep.engine import Tape as Tape
from curvestep.engine import record as record

__version__ = "0.1.0"
