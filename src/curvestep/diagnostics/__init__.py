"""Looking at a model before it is trained: what is covered, what a step costs, how long a step would be."""

from __future__ import annotations

from curvestep.diagnostics.diagnosis import Diagnosis as Diagnosis
from curvestep.diagnostics.examination import doctor as doctor
from curvestep.diagnostics.layers import LayerCurvature as LayerCurvature
from curvestep.diagnostics.layers import layer_curvature as layer_curvature
