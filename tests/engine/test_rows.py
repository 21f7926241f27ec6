"""What a row declares of its operation agrees with the operation's schema, and no operation is named elsewhere."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import curvestep
from curvestep.engine.data.rule import Kind, Rule
from curvestep.engine.rules.operators import tensor_positions
from curvestep.engine.rules.table import RULES
from tests.engine.parts import check_part

PACKAGE = Path(curvestep.__file__).parent
ROWS = {op: rule for op, rule in RULES.items() if hasattr(op, "_schema")}


def reduction_argument(op: Any) -> int | None:
    """Where a loss is told how to reduce; the kernel of its gradient is told so too, but does not reduce."""
    if "backward" in str(op):
        return None
    return next((i for i, a in enumerate(op._schema.arguments) if a.name == "reduction"), None)


def inconsistencies(op: Any, rule: Rule) -> list[str]:
    """What a row says that cannot be true of the operation."""
    tensors, outputs = set(tensor_positions(op)), len(op._schema.returns)
    said = {
        "it has neither jets nor a formula": rule.propagate is None and rule.formula is None,
        "a factor is no tensor": not set(rule.factors) <= tensors,
        "a product of factors names none, or one that is none names some": bool(rule.factors)
        != (rule.kind is Kind.MULTILINEAR),
        "it keeps an input that is no tensor": not set(rule.keep_inputs) <= tensors,
        "it keeps an output that there is not": not all(0 <= i < outputs for i in rule.keep_outputs),
        "a constant keeps something": rule.kind is Kind.CONSTANT and bool(rule.keep_inputs or rule.keep_outputs),
        "what drops the gradient is not constant": rule.detaches and rule.kind is not Kind.CONSTANT,
        "what draws a batch, or reads values to follow it, is not linear": (rule.draws or rule.reads_values)
        and rule.kind is not Kind.LINEAR,
        "a counted product has other factors than the rule": rule.product is not None
        and rule.product.factors != rule.factors,
        "it polarises, but no value is kept for it": rule.product is not None
        and rule.product.polarises != (rule.may_read is not None),
        "attention in another dtype than products": rule.attends and rule.dtype != "product",
        "a dtype of products without a product": rule.dtype == "product" and not (rule.attends or rule.product),
        "its reduction argument is another one": reduction_argument(op) is not None
        and (rule.reduces is None or rule.reduces.by != reduction_argument(op)),
        "it divides by an output that there is not": rule.reduces is not None
        and rule.reduces.weights is not None
        and rule.reduces.weights not in rule.keep_outputs,
    }
    return [sentence for sentence, holds in said.items() if holds]


@pytest.mark.parametrize("op", sorted(ROWS, key=str), ids=str)
def test_a_row_agrees_with_its_operation(op: Any) -> None:
    assert inconsistencies(op, ROWS[op]) == []


def test_a_row_that_does_not_agree_is_found() -> None:
    aten = torch.ops.aten

    def row(kind: Kind, **facts: Any) -> Rule:
        return Rule(kind, lambda s: (None, None), lambda s: s.at(0), **facts)

    assert inconsistencies(aten.mm.default, row(Kind.MULTILINEAR, factors=(0, 2)))
    assert inconsistencies(aten.relu.default, row(Kind.LINEAR, keep_outputs=(1,)))
    assert inconsistencies(aten.mse_loss.default, row(Kind.NONLINEAR))


# -- reductions are cut ----------------------------------------------------------------------------------------------

LABELS = torch.tensor([0, 2, 1, 2])
SIGNS = torch.tensor([[1.0, -1.0, 1.0]] * 4, dtype=torch.float64)
SETS = torch.tensor([[0, -1, -1], [1, 2, -1], [2, -1, -1], [0, 1, -1]])
WEIGHTS = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)


def both(loss: Callable[..., Tensor]) -> list[Callable[[Tensor], Tensor]]:
    """A loss of (samples, 3) scores as a mean and as a sum."""
    return [lambda x: loss(x, reduction="mean"), lambda x: loss(x, reduction="sum")]


REDUCTIONS: dict[str, list[Callable[[Tensor], Tensor]]] = {
    "aten.sum.default": [lambda x: (x * x).sum()],
    "aten.mean.default": [lambda x: (x * x).mean()],
    "aten.sum.dim_IntList": [lambda x: (x * x).sum((0, 1))],
    "aten.mean.dim": [lambda x: (x * x).mean((0, 1))],
    "aten.nansum.default": [lambda x: (x * x).nansum()],
    "aten.mse_loss.default": both(lambda x, reduction: F.mse_loss(x, SIGNS, reduction=reduction)),
    "aten.smooth_l1_loss.default": both(lambda x, reduction: F.smooth_l1_loss(x, SIGNS, reduction=reduction)),
    "aten.huber_loss.default": both(lambda x, reduction: F.huber_loss(x, SIGNS, reduction=reduction)),
    "aten.soft_margin_loss.default": both(lambda x, reduction: F.soft_margin_loss(x, SIGNS, reduction=reduction)),
    "aten.binary_cross_entropy.default": both(
        lambda x, reduction: F.binary_cross_entropy(torch.sigmoid(x), (SIGNS + 1) / 2, reduction=reduction)
    ),
    "aten.binary_cross_entropy_with_logits.default": both(
        lambda x, reduction: F.binary_cross_entropy_with_logits(x, (SIGNS + 1) / 2, reduction=reduction)
    ),
    "aten.nll_loss_forward.default": both(
        lambda x, reduction: F.cross_entropy(x, LABELS, WEIGHTS, reduction=reduction)
    ),
    "aten.nll_loss2d_forward.default": both(
        lambda x, reduction: F.cross_entropy(
            x.reshape(4, 3, 1, 1), LABELS.reshape(4, 1, 1), WEIGHTS, reduction=reduction
        )
    ),
    "aten.multi_margin_loss.default": both(
        lambda x, reduction: F.multi_margin_loss(x, LABELS, p=2, reduction=reduction)
    ),
    "aten.multilabel_margin_loss_forward.default": both(
        lambda x, reduction: F.multilabel_margin_loss(x * x, SETS, reduction=reduction)
    ),
}
CASES = [(name, i) for name, losses in REDUCTIONS.items() for i in range(len(losses))]


def test_every_reduction_is_among_them() -> None:
    assert {str(op) for op, rule in ROWS.items() if rule.reduces is not None} == set(REDUCTIONS)


@pytest.mark.parametrize(("name", "which"), CASES)
def test_a_reduction_is_measured_on_half_of_the_batch(name: str, which: int) -> None:
    generator = torch.Generator().manual_seed(0)
    data, weight, direction = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (4, 3, 3))
    weight.requires_grad_()
    with curvestep.record() as tape:
        REDUCTIONS[name][which](torch.tanh(data @ weight)).backward()
    assert name in {node.name for node in tape.nodes}
    full = tape.curvature([weight], [direction])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        half = tape.curvature([weight], [direction], samples=0.5)
    check_part(half, full, 2)


# -- operations are named in the tables of rules alone ---------------------------------------------------------------

# What is named elsewhere, and why: marks that are no operations on data; constants of traced programs; the names under
# which torch's profiler reports kernels.
ELSEWHERE = {
    "engine/recording/facts.py": {"torch.ops.profiler", "torch.ops.prim"},
    "optim/compiled/lifting.py": {"torch.ops.aten"},
}


def named_in(source: str) -> set[str]:
    """Namespaces of operations that a source names, in code or in strings, docstrings left out."""
    tree = ast.parse(source)
    found = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    found = {m.group() for name in found if (m := re.match(r"torch\.ops\.\w+|torch\._ops\.ops\.\w+", name))}
    texts = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}  # statements: docstrings
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts:
            found |= {m.group(1) for m in re.finditer(r"\b(aten::|aten\.|prims\.)(?=\w)", node.value)}
        if isinstance(node, ast.ImportFrom) and node.module == "curvestep.engine.rules.operators":
            found |= {"torch.ops.aten" for alias in node.names if alias.name == "aten"}
    return found


def namings(package: Path) -> dict[str, set[str]]:
    """Every file outside the tables of rules that names an operation."""
    files = {p.relative_to(package).as_posix(): p for p in package.rglob("*.py")}
    found = {
        name: named_in(path.read_text(encoding="utf-8"))
        for name, path in files.items()
        if not name.startswith("engine/rules/")
    }
    return {name: named for name, named in found.items() if named}


def test_operations_are_named_in_their_rows_alone() -> None:
    allowed = {name: named for name, named in ELSEWHERE.items() if (PACKAGE / name).exists()}
    assert namings(PACKAGE) == allowed


@pytest.mark.parametrize(
    "source",
    [
        "import torch\nHELD = {torch.ops.aten.mm.default}",
        "from torch import ops, nn\nimport torch\naten = torch.ops.aten",
        "from curvestep.engine.rules.operators import aten\nHELD = aten.mm.default",
        'def known(node):\n    """Whether."""\n    return node.name == "aten.mm.default"',
    ],
)
def test_an_operation_that_is_named_elsewhere_is_found(tmp_path: Path, source: str) -> None:
    (tmp_path / "engine" / "passes").mkdir(parents=True)
    (tmp_path / "engine" / "passes" / "sweep.py").write_text(source, encoding="utf-8")
    assert set(namings(tmp_path)) == {"engine/passes/sweep.py"}


# -- a torch that lacks an operator ----------------------------------------------------------------------------------

HIDE = """
import torch
found = torch._ops._OpNamespace.__getattr__
def hide(self, name):
    if self.name == "aten" and name in ("cholesky", "gelu_backward"):
        raise AttributeError(name)
    return found(self, name)
for name in ("cholesky", "gelu_backward"):
    torch.ops.aten.__dict__.pop(name, None)
torch._ops._OpNamespace.__getattr__ = hide
import curvestep
from curvestep.engine.rules.table import RULES, absent
print(*absent())
w = torch.tensor([2.0], requires_grad=True)
with curvestep.record() as tape:
    (w**3).sum().backward()
print(tape.curvature([w], [torch.ones(1)]).total.item())
with curvestep.record() as tape:
    torch.nn.functional.gelu(w).sum().backward()
try:
    tape.curvature([w], [torch.ones(1)])
except curvestep.MissingRuleError as error:
    print(error)
"""


def test_rules_of_operators_that_torch_lacks_are_left_out_and_listed() -> None:
    done = subprocess.run([sys.executable, "-c", HIDE], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    listed, total, refusal = done.stdout.splitlines()
    assert listed == "aten.cholesky.default aten.gelu_backward.default"
    assert float(total) == 12.0
    assert "aten.gelu_backward.default" in refusal and "does not have it" in refusal


def test_this_torch_has_every_operator_of_the_tables() -> None:
    from curvestep.engine.rules.table import absent

    assert absent() == ()
