"""Writes in place: into a copy, into a slice of it, through views, by index, and reads of older versions."""

from __future__ import annotations

from tests.fuzz.operations.operation import Fields, Operation, Site


def _onto(site: Site) -> Fields | None:
    if not site.shape:
        return None
    d = site.dim()
    return {"b": site.operand(*site.shape), "c": site.cast(), "d": d, "n": site.shape[d]}


_WRITES = {
    "add_": "{out}.add_({c})",
    "sub_": "{out}.sub_({c}, alpha=0.5)",
    "mul_": "{out}.mul_({c})",
    "mul_ by itself": "{out}.mul_({out}.clone())",
    "div_": "{out}.div_({c}.exp() + 0.3)",
    "exp_": "{out}.mul_(0.4).exp_()",
    "tanh_": "{out}.tanh_()",
    "sigmoid_": "{out}.sigmoid_()",
    "sin_ of a view": "{out}.narrow({d}, 0, 1).sin_()",
    "addcmul_": "{out}.addcmul_({b}, {c}, value=0.3)",
    "lerp_": "{out}.lerp_({b}, 0.3)",
    "copy_ into a slice": "{out}.narrow({d}, {n} - 1, 1).copy_({b}.narrow({d}, 0, 1))",
    "assigned slice": "{out}[..., :1] = {b}[..., -1:]",
    "added to a slice": "{out}[..., :1] += {b}[..., -1:]",
    "multiplied view": "{out}.transpose(0, -1)[..., :1].mul_(1.5)",
    "view times itself": "{out}.narrow({d}, 0, 1).mul_({out}.narrow({d}, {n} - 1, 1).clone())",
    "written flat view": "{out}.view(-1)[1:].mul_(0.6)",
    "fill_ of a slice": "{out}.select({d}, 0).fill_(0.4)",
    "zero_ of a slice": "{out}.narrow({d}, 0, 1).zero_()",
    "index_put_": "{out}.index_put_((torch.tensor([0]),), {b}[-1:])",
    "index_put_ accumulating": "{out}.index_put_((torch.tensor([0, 0]),), {b}[-1:], accumulate=True)",
    "index_add_": "{out}.index_add_({d}, torch.tensor([0]), {b}.narrow({d}, {n} - 1, 1))",
    "scatter_add_": "{out}.scatter_add_({d}, torch.zeros_like({out}, dtype=torch.long), {b})",
    "masked_fill_": "{out}.masked_fill_({b}.detach() > 0.3, 0.2)",
    "clamp_": "{out}.clamp_(-0.7, 0.9)",
    "pow_": "{out}.pow_(2)",
    "swapped halves": "{out}[...] = {out}.flip({d})",
    "accumulated": "{out} += {a}.sin()\n{out} *= {c}",
    "two views": "u, w = {out}.narrow({d}, 0, 1), {out}.select({d}, 0)\nu.mul_(2)\nw.add_({b}.select({d}, 0))",
    "relu_": "{out}.relu_()",
}
_KINKED = {"clamp_", "relu_", "masked_fill_"}

INPLACE = [
    Operation(f"in place: {name}", "{out} = {a}.clone()\n" + text, _onto, kinked=name in _KINKED)
    for name, text in _WRITES.items()
] + [
    Operation(f"in place on zeros: {name}", text, _onto)
    for name, text in {
        "filled row by row": "{out} = torch.zeros_like({a})\n"
        "for k in range({n}):\n    {out}.select({d}, k).copy_({a}.select({d}, k) * (k + 1))",
        "recurrence": "{out} = torch.zeros_like({a})\n{out}.select({d}, 0).add_({b}.select({d}, 0))\n"
        "for k in range(1, {n}):\n"
        "    {out}.select({d}, k).copy_(torch.tanh({out}.select({d}, k - 1).clone() + {a}.select({d}, k)))",
        "buffer of two": "{out} = torch.zeros(2, *{a}.shape)\n{out}[0] = {a}\n{out}[1] = {b} * {a}",
        "out of an empty one": "{out} = torch.empty_like({a})\n{out}.copy_({a})\n{out}.sin_()",
    }.items()
]
