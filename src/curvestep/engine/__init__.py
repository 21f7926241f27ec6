"""The curvature engine: record a forward, then ask for exact second derivatives along any direction."""

from __future__ import annotations

from curvestep.engine.data.curvature import Curvature as Curvature
from curvestep.engine.data.curvature import Order as Order
from curvestep.engine.data.curvature import Precision as Precision
from curvestep.engine.data.part import spread as spread
from curvestep.engine.passes.sweep import slopes_sweep as slopes_sweep
from curvestep.engine.record import Memory as Memory
from curvestep.engine.record import join as join
from curvestep.engine.record import record as record
from curvestep.engine.recording.recorder import open_recorder as open_recorder
from curvestep.engine.recording.registry import register_rule as register_rule
from curvestep.engine.recording.unobserved import begin_watching as begin_watching
from curvestep.engine.recording.unobserved import end_watching as end_watching
from curvestep.engine.tape import Tape as Tape
