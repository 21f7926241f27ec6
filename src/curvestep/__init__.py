"""Step sizes for PyTorch training, measured from the curvature of the loss instead of tuned.

Names load on first use, so that the command line can show its help, and the report read a run store, without torch.
"""

from __future__ import annotations

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from curvestep import directions as directions
    from curvestep import nn as nn
    from curvestep import schedules as schedules
    from curvestep import steprules as steprules
    from curvestep import testing as testing
    from curvestep._errors import CurvestepError as CurvestepError
    from curvestep._errors import DirectionError as DirectionError
    from curvestep._errors import MissingRuleError as MissingRuleError
    from curvestep._errors import RecordingError as RecordingError
    from curvestep._errors import SampleAxisError as SampleAxisError
    from curvestep._records import Outcome as Outcome
    from curvestep._records import StepRecord as StepRecord
    from curvestep.diagnostics import Diagnosis as Diagnosis
    from curvestep.diagnostics import LayerCurvature as LayerCurvature
    from curvestep.diagnostics import doctor as doctor
    from curvestep.diagnostics import layer_curvature as layer_curvature
    from curvestep.engine import Curvature as Curvature
    from curvestep.engine import Tape as Tape
    from curvestep.engine import record as record
    from curvestep.engine import register_rule as register_rule
    from curvestep.integrations import attach as attach
    from curvestep.optim import ALIG as ALIG
    from curvestep.optim import EGDD as EGDD
    from curvestep.optim import LQA as LQA
    from curvestep.optim import Auto as Auto
    from curvestep.optim import BalancedAdam as BalancedAdam
    from curvestep.optim import EGStepSize as EGStepSize
    from curvestep.optim import GeN as GeN
    from curvestep.optim import RescaledAdam as RescaledAdam
    from curvestep.optim import RescaledRMSprop as RescaledRMSprop
    from curvestep.optim import RescaledSGD as RescaledSGD
    from curvestep.optim import StepTunedSGD as StepTunedSGD

__all__ = [
    "__version__",
    # optimizers, the schedules of their ℓ, and what a step reports
    "ALIG",
    "Auto",
    "BalancedAdam",
    "EGDD",
    "EGStepSize",
    "GeN",
    "LQA",
    "Outcome",
    "RescaledAdam",
    "RescaledRMSprop",
    "RescaledSGD",
    "schedules",
    "StepRecord",
    "StepTunedSGD",
    # recordings without a line in the loop
    "attach",
    # modules that models are made with
    "nn",
    # the curvature engine
    "Curvature",
    "record",
    "register_rule",
    "Tape",
    # what a new optimizer is made of, and checks of a new derivative rule
    "directions",
    "steprules",
    "testing",
    # looking at a model before it is trained, and layer by layer
    "Diagnosis",
    "doctor",
    "layer_curvature",
    "LayerCurvature",
    # refusals
    "CurvestepError",
    "DirectionError",
    "MissingRuleError",
    "RecordingError",
    "SampleAxisError",
]

__version__ = "0.1.0"

_NAMESPACES = frozenset({"directions", "nn", "schedules", "steprules", "testing"})
_NAMES = {
    "curvestep._records": "Outcome StepRecord",
    "curvestep.optim": (
        "ALIG Auto BalancedAdam EGDD EGStepSize GeN LQA RescaledAdam RescaledRMSprop RescaledSGD StepTunedSGD"
    ),
    "curvestep.integrations": "attach",
    "curvestep.diagnostics": "Diagnosis doctor layer_curvature LayerCurvature",
    "curvestep.engine": "Curvature Tape record register_rule",
    "curvestep._errors": "CurvestepError DirectionError MissingRuleError RecordingError SampleAxisError",
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    """Load a public name from the module that defines it, once."""
    if name in _NAMESPACES:
        return _import_module(f"curvestep.{name}")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'curvestep' has no attribute {name!r}")
    value = globals()[name] = getattr(_import_module(home), name)
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)
