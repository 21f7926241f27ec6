"""What a recording is made of, as plain data: values, nodes, slots, axes of samples, and what a pass returns."""
