"""What runs over a recording: the plan of its graph, tangents forward, the forward again, the cut to some samples."""
