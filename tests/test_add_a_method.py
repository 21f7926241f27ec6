"""The page docs/add-a-method.md: its two files and its row are what the package and the laws take."""

from __future__ import annotations

import doctest
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from tests.methods import Method, Refusal
from tests.optim import test_laws as laws

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "add-a-method.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`src/(curvestep/\S+)\.py`:\n\n```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL))
LAWS = [
    laws.test_closure_and_recording_are_the_same_step,
    laws.test_training_lowers_the_loss_and_keeps_the_dtype,
    laws.test_the_step_is_published,
    laws.test_copies_and_pickles_go_on_alike,
    laws.test_splitting_the_parameters_into_groups_changes_nothing,
    laws.test_a_gradient_that_is_not_finite_is_skipped,
    laws.test_a_curvature_that_is_not_finite_is_skipped,
]


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ModuleType]]:
    """The files of the page as modules of the package, for the time of these tests."""
    loaded = {}
    for name, source in FILES.items():
        path = tmp_path_factory.mktemp("page") / "module.py"
        path.write_text(source, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(name.replace("/", "."), path)
        assert spec is not None and spec.loader is not None
        loaded[spec.name] = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded[spec.name])
    yield loaded
    for name in loaded:
        del sys.modules[name]


@pytest.fixture(scope="module")
def row(modules: dict[str, ModuleType]) -> Method:
    """The row of the page, with the class that it names."""
    (source,) = re.findall(r'^```python\n("Armijo": Method.*?)^```', PAGE, flags=re.MULTILINE | re.DOTALL)
    names = {"Method": Method, "Refusal": Refusal, "Armijo": modules["curvestep.optim.armijo"].Armijo}
    return eval(f"{{{source}}}", names)["Armijo"]


def test_the_page_has_two_files() -> None:
    assert list(FILES) == ["curvestep/steprules/armijo", "curvestep/optim/armijo"]


def test_the_examples_run(modules: dict[str, ModuleType]) -> None:
    for module in modules.values():
        result = doctest.testmod(module)
        assert result.attempted > 0 and result.failed == 0


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_laws_hold(law: Any, row: Method) -> None:
    for options in row.variants.values():
        law(row, options)


def test_options_out_of_range_are_refused(row: Method) -> None:
    for refusal in row.refusals:
        with pytest.raises(ValueError, match=refusal.message):
            row.make([torch.zeros(2, requires_grad=True)], **refusal.options)
