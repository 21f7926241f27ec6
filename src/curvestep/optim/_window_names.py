"""Names of the numbers that a window's end brings, before they are a reading."""

from __future__ import annotations

#: What each process has of its own samples: J at x̄, at x̄' and at z; σ, its variance, κ, its mean absolute value; and
#: along E slope and curvature.
LOSS, BEFORE, ITERATE = "window_loss", "window_before", "window_iterate"
SLOPE, VARIANCE, CURVATURE, ABSOLUTE = "window_slope", "window_variance", "window_curvature", "window_absolute"
OUT_SLOPE, OUT_CURVATURE = "window_out_slope", "window_out_curvature"
WINDOW_OWN = (LOSS, BEFORE, ITERATE, SLOPE, VARIANCE, CURVATURE, ABSOLUTE, OUT_SLOPE, OUT_CURVATURE)

#: What is the same in every process, but for sharded parameters: ‖p.grad‖², ‖D‖², ‖E‖² and Σ D² (ṽ − m²).
GRADIENT, LENGTH, OUT_LENGTH, SPREAD = "window_gradient", "window_length", "window_out_length", "window_spread"
