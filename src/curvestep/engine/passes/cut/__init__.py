"""Cutting a recording at the sample axis: the sweep over some samples of a batch instead of all of them."""
