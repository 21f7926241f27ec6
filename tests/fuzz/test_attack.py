"""Every finding is right or refused; those that are neither are listed, and leave the list when they are mended."""

from __future__ import annotations

import pytest

from tests.fuzz.attack import FINDINGS, verdict
from tests.fuzz.findings.finding import Finding
from tests.fuzz.findings.known import KNOWN


def _param(finding: Finding):
    marks = [pytest.mark.xfail(strict=True, reason=finding.number)] if finding.id in KNOWN else []
    return pytest.param(finding, id=finding.id, marks=marks)


@pytest.mark.parametrize("finding", [_param(finding) for finding in FINDINGS])
def test_finding(finding: Finding) -> None:
    found = verdict(finding)
    assert found.passed, f"{found.outcome.value}: {found.why}"


def test_names_are_unique() -> None:
    names = [finding.id for finding in FINDINGS]
    assert len(set(names)) == len(names)


def test_every_known_failure_is_a_finding() -> None:
    assert set(KNOWN) <= {finding.id for finding in FINDINGS}
