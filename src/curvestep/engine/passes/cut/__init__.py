"""Cutting a recording at the sample axis: the sweep over the first k samples of a batch instead of all of them."""
