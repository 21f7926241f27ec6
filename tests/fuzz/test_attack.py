"""Every finding is right or refused."""

from __future__ import annotations

import pytest

from tests.fuzz.attack import FINDINGS, verdict
from tests.fuzz.findings.finding import Finding


@pytest.mark.parametrize("finding", FINDINGS, ids=[finding.id for finding in FINDINGS])
def test_finding(finding: Finding) -> None:
    found = verdict(finding)
    assert found.passed, f"{found.outcome.value}: {found.why}"


def test_names_are_unique() -> None:
    names = [finding.id for finding in FINDINGS]
    assert len(set(names)) == len(names)
