"""The findings that are neither right nor refused. Who mends one removes its line: until then its test fails."""

KNOWN: frozenset[str] = frozenset(
    {
        "attack 10: curvature after a write to the data of a parameter",
        "attack 10: curvature after a write to the data of the batch",
        "attack 10: curvature after a write through numpy",
        "attack 11: detached rounding",
        "attack 11: a condition",
        "attack 11: a mask as a factor",
        "attack 11: a mask as an index",
        "attack 11: gathered by topk",
        "attack 11: ordered by argsort",
        "attack 11: one hot of argmax",
        "attack 11: a scale read by item",
        "attack 11: a detached baseline",
    }
)
