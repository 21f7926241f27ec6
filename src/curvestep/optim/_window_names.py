"""Names of the numbers that a window's end brings, before they are a reading."""

from __future__ import annotations

#: What each process has of its own samples: J at x̄, at x̄' and at z; σ, κ, and the mean of |κ_s|; the means of σ_s and
#: of σ_s², and how many samples there are; and along E slope and curvature.
LOSS, BEFORE, ITERATE = "window_loss", "window_before", "window_iterate"
SLOPE, CURVATURE, ABSOLUTE = "window_slope", "window_curvature", "window_absolute"
MEAN, SQUARE, SAMPLES = "window_mean", "window_square", "window_samples"
OUT_SLOPE, OUT_CURVATURE = "window_out_slope", "window_out_curvature"
WINDOW_OWN = (
    LOSS, BEFORE, ITERATE, SLOPE, CURVATURE, ABSOLUTE, MEAN, SQUARE, SAMPLES, OUT_SLOPE, OUT_CURVATURE
)  # fmt: skip

#: What is the same in every process, but for sharded parameters: ‖p.grad‖², ‖D‖², ‖E‖² and Σ D² (ṽ − m²).
GRADIENT, LENGTH, OUT_LENGTH, SPREAD = "window_gradient", "window_length", "window_out_length", "window_spread"
