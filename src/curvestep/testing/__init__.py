"""Checks of derivative rules against two independent truths: for rules that a user registers.

One truth is double backward of an explicit formula, sample by sample. The other is a table of central differences
extrapolated to step zero. Neither passes through the engine, and neither nests forward-mode derivatives.
"""

from __future__ import annotations

from curvestep.testing.problem import check_problem as check_problem
from curvestep.testing.report import Comparison as Comparison
from curvestep.testing.report import RuleCheckError as RuleCheckError
from curvestep.testing.report import RuleReport as RuleReport
from curvestep.testing.rule import Constant as Constant
from curvestep.testing.rule import check_rule as check_rule
from curvestep.testing.truths import Problem as Problem

__all__ = [
    "check_problem",
    "check_rule",
    "Comparison",
    "Constant",
    "Problem",
    "RuleCheckError",
    "RuleReport",
]
