"""The findings that are neither right nor refused. Who mends one removes its line: until then its test fails."""

KNOWN: frozenset[str] = frozenset(
    {
        "attack 10: curvature after a write to the data of a parameter",
        "attack 10: curvature after a write to the data of the batch",
        "attack 10: curvature after a write through numpy",
    }
)
