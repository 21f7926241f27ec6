"""The faults that attacks on the engine and the fuzzer found, each as a small case with its truth.

A case passes where every number is right or the engine refuses in a sentence; where a refusal is the fault
(`must_answer`), only where every number is right.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.fuzz.case import Outcome, Verdict, judge
from tests.fuzz.findings import backwards, fuzzed, lines, loops, numerics, parts, refusals, rows, tensors, writes
from tests.fuzz.findings.finding import Finding

FINDINGS: tuple[Finding, ...] = (
    *writes.FINDINGS,
    *backwards.FINDINGS,
    *lines.FINDINGS,
    *rows.FINDINGS,
    *parts.FINDINGS,
    *tensors.FINDINGS,
    *numerics.FINDINGS,
    *refusals.FINDINGS,
    *loops.FINDINGS,
    *fuzzed.FINDINGS,
)


def verdict(finding: Finding) -> Verdict:
    """What the engine makes of a finding."""
    return _apart(finding) if finding.hangs else judge(finding.claims, must_answer=finding.must_answer)


# A case takes some milliseconds, and the machine may be busy with other tests. Wall time: a deadlock takes no other.
SECONDS = 10


def _apart(finding: Finding) -> Verdict:
    """The same in a process of its own, which the system ends when its time is over."""
    root = Path(__file__).resolve().parents[2]
    child = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.attack", finding.id],
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    if child.returncode == -signal.SIGALRM:
        return Verdict(Outcome.CRASHED, f"the case did not end within {SECONDS} s")
    if child.returncode:
        return Verdict(Outcome.CRASHED, child.stderr.strip().splitlines()[-1])
    name, why = json.loads(child.stdout)
    return Verdict(Outcome[name], why)


if __name__ == "__main__":
    (asked,) = (finding for finding in FINDINGS if finding.id == sys.argv[1])
    signal.alarm(SECONDS)  # not handled here, so that it ends the process whatever Python is doing
    found = judge(asked.claims, must_answer=asked.must_answer, seconds=None)
    print(json.dumps([found.outcome.name, found.why]))
