"""Many cases in several processes: counted, deduplicated, shrunk, and written down so that a run can go on later."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from tests.fuzz.generate import layout_program, random_program
from tests.fuzz.oracle import examine
from tests.fuzz.programs import Program
from tests.fuzz.shrink import shrink

GENERATORS: dict[str, Callable[[int], Program | None]] = {"chains": random_program, "layouts": layout_program}

# A case takes some tenths of a second; one that is not back by then hangs, and its process is ended.
PATIENCE = 60.0
EVERY = 5000  # cases between two notes


@dataclass(frozen=True)
class Job:
    """A share of a campaign: the cases first, first + step, … of one generator."""

    generator: str
    seed: int
    first: int
    step: int

    def program(self, case: int) -> Program | None:
        """The program of a case."""
        return GENERATORS[self.generator](self.seed * 10**9 + case)


@dataclass
class Summary:
    """What all cases gave."""

    torch: str = str(torch.__version__)
    generator: str = "chains"
    seed: int = 0
    engine: str = ""  # a digest of its files, where the caller has one
    first: int = 0  # the number of the first case
    cases: int = 0
    skipped: int = 0  # an operation that cannot stand at a place
    checks: int = 0
    seconds: float = 0.0
    operations: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    unjudged: Counter[str] = field(default_factory=Counter)
    failures: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, result: dict[str, Any]) -> str | None:
        """Count a case's result; the signature of a failure that is new, else None."""
        self.cases += 1
        self.skipped += result["skipped"]
        self.checks += result["checks"]
        for name in ("operations", "refused", "unjudged"):
            getattr(self, name).update(result[name])
        new = None
        for find in result["finds"]:
            signature = find["signature"]
            if signature not in self.failures:
                self.failures[signature] = {**find, "count": 0}
                new = signature
            self.failures[signature]["count"] += 1
        return new

    def json(self) -> dict[str, Any]:
        """As plain data, the counts with the largest first."""
        plain = dict(vars(self))
        for name in ("operations", "refused", "unjudged"):
            plain[name] = dict(getattr(self, name).most_common())
        return plain

    @classmethod
    def load(cls, plain: dict[str, Any]) -> Summary:
        """Out of what `json` gave."""
        plain = {**plain, "failures": {name: dict(find) for name, find in plain["failures"].items()}}
        counters = {name: Counter(plain[name]) for name in ("operations", "refused", "unjudged")}
        return cls(**{**plain, **counters})


def result_of(program: Program | None, case: int, seen: set[str]) -> dict[str, Any]:
    """Examine one program; a fault of a kind and last operation not seen before is shrunk."""
    result: dict[str, Any] = {"case": case, "skipped": 0, "checks": 0, "finds": []}
    result |= {"operations": [], "refused": [], "unjudged": []}
    if program is None:
        return {**result, "skipped": 1}
    result["operations"] = [step.operation for step in (*program.steps, program.loss)]
    try:
        report = examine(program)
    except Exception as broken:  # the program does not run by itself: the generator's fault, and counted as such
        return {**result, "unjudged": [f"the program itself raises {type(broken).__name__}: {str(broken)[:100]}"]}
    result |= {"checks": report.checks, "unjudged": report.unjudged}
    result["refused"] = list(dict.fromkeys(text.split(": ", 1)[1] for text in report.refusals))
    for fault in report.faults[:1]:  # the others follow from the first
        small = shrink(program, fault.kind)
        signature = f"{fault.kind} | {', '.join(sorted({step.operation for step in small.steps}))} | {_mode(small)}"
        find = {"signature": signature, "kind": fault.kind, "case": case}
        if signature not in seen:
            seen.add(signature)
            detail = next((f.detail for f in examine(small).faults if f.kind == fault.kind), fault.detail)
            text = small.text()
            find |= {"detail": detail, "program": text}
        result["finds"].append({"detail": "", "program": "", **find})
    return result


def _mode(program: Program) -> str:
    """What of the mode is not plain."""
    m = program.mode
    odd = [f"{k}={getattr(m, k)}" for k in ("memory", "products", "form") if getattr(m, k) not in ("keep", "auto")]
    odd += [] if m.samples is None else ["samples"]
    odd += [] if m.backward == "plain" else [m.backward]
    return ", ".join(odd) or "plain"


def work(job: Job, sender: Connection) -> None:
    """Send the result of case after case, until the process is ended."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    seen: set[str] = set()
    case = job.first
    while True:
        sender.send({"begun": case})
        sender.send(result_of(job.program(case), case, seen))
        case += job.step


class Campaign:
    """Cases in order of their number, in some processes, until a number of cases or of seconds is over."""

    def __init__(self, summary: Summary, processes: int, note: Callable[[Summary], object]) -> None:
        self.summary = summary
        self.note = note  # is given the summary every `EVERY` cases and at the end
        self.context = multiprocessing.get_context("spawn")
        self.workers: dict[Connection, tuple[Any, Job, float, int]] = {}
        for k in range(processes):
            self._start(Job(summary.generator, summary.seed, summary.first + summary.cases + k, processes))

    def run(self, cases: int, seconds: float) -> Summary:
        """Go on until either is reached."""
        before, started = self.summary.seconds, time.monotonic()
        while self.summary.cases < cases and time.monotonic() - started < seconds:
            for receiver in wait(list(self.workers), timeout=1.0):
                assert isinstance(receiver, Connection)
                self._receive(receiver)
            self._end_hanging()
            self.summary.seconds = before + time.monotonic() - started
        for process, *_ in self.workers.values():
            process.terminate()
        self.write()
        return self.summary

    def write(self) -> None:
        """Say how far it has come, and note it."""
        s = self.summary
        print(
            f"{s.cases} cases, {s.skipped} skipped, {s.checks} checks, "
            f"{len(s.failures)} kinds of failure, {s.seconds:.0f} s",
            flush=True,
        )
        self.note(s)

    def _start(self, job: Job) -> None:
        receiver, sender = self.context.Pipe(duplex=False)
        process = self.context.Process(target=work, args=(job, sender), daemon=True)
        process.start()
        self.workers[receiver] = (process, job, time.monotonic(), job.first)

    def _receive(self, receiver: Connection) -> None:
        process, job, _, case = self.workers[receiver]
        try:
            result = receiver.recv()
        except EOFError:
            self._replace(receiver, "the process ended")
            return
        case = result.get("begun", case)
        self.workers[receiver] = (process, job, time.monotonic(), case)
        if "begun" not in result:
            self._count(result)

    def _end_hanging(self) -> None:
        for receiver, (_, _, since, _) in list(self.workers.items()):
            if time.monotonic() - since > PATIENCE:
                self._replace(receiver, f"no answer within {PATIENCE:g} s")

    def _replace(self, receiver: Connection, why: str) -> None:
        """End a process whose case does not come back, and go on behind that case."""
        process, job, _, case = self.workers.pop(receiver)
        process.terminate()
        program = job.program(case)
        text = "" if program is None else program.text()
        find = {"signature": f"{why} | case {case}", "kind": why, "case": case, "detail": why}
        empty = {"skipped": 0, "checks": 0, "operations": [], "refused": [], "unjudged": []}
        self._count({"case": case, **empty, "finds": [{**find, "program": text}]})
        self._start(Job(job.generator, job.seed, case + job.step, job.step))

    def _count(self, result: dict[str, Any]) -> None:
        new = self.summary.add(result)
        if new is not None:
            find = self.summary.failures[new]
            print(f"case {find['case']}: {new} {find['detail']}\n{find['program']}\n", flush=True)
        if self.summary.cases % EVERY == 0:
            self.write()
