"""Where runs are made: here one after the other, over the cores with joblib, or over machines with Ray."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, final

from benchmarks.paper.work import Job
from curvestep.bench.errors import BenchError, SettingError
from curvestep.bench.record import RunRecord

ParallelName = Literal["none", "joblib", "ray"]
PARALLEL: tuple[ParallelName, ...] = ("none", "joblib", "ray")

Work = Callable[[Job], RunRecord | None]


class SweepError(BenchError):
    """Workers were lost and the work could not be given to others."""


class Executor(ABC):
    """Gives jobs to workers, and their results as they come."""

    @abstractmethod
    def results(self, work: Work, jobs: Iterable[Job]) -> Iterator[RunRecord | None]:
        """Do all jobs.

        Args:
            work: does one.
            jobs: taken one by one, when a worker is free.

        Yields:
            A result a job, in any order.
        """


@final
class OneByOne(Executor):
    """In this process."""

    def results(self, work: Work, jobs: Iterable[Job]) -> Iterator[RunRecord | None]:
        """Do all jobs."""
        return map(work, jobs)


@final
class Joblib(Executor):
    """In processes of this machine.

    Args:
        jobs: their number.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def results(self, work: Work, jobs: Iterable[Job]) -> Iterator[RunRecord | None]:
        """Do all jobs.

        Yields:
            Results as they come.

        Raises:
            SettingError: if joblib is not installed.
            SweepError: if a worker was killed.
        """
        try:
            from joblib import Parallel, delayed
            from joblib.externals.loky.process_executor import BrokenProcessPool
        except ImportError as error:
            raise SettingError('--parallel joblib needs joblib: pip install "curvestep[bench]".') from error
        # pre_dispatch: a job is taken when a worker is free for it, not before.
        pool: Any = Parallel(self.jobs, backend="loky", return_as="generator_unordered", pre_dispatch=f"{self.jobs}")
        try:
            yield from pool(delayed(work)(job) for job in jobs)
        except BrokenProcessPool as error:
            raise SweepError(
                "A worker was killed, as the system does where memory runs out; the runs that were over are in the "
                "store. Run the command again to go on, with fewer --jobs if memory was short."
            ) from error


@final
class Ray(Executor):
    """On the machines of a Ray cluster; what a lost machine was doing is done again on another one.

    Args:
        jobs: runs at a time, over all machines.
        address: of a cluster, as Ray writes it; None to start one on this machine.
        gpus: that a run takes for itself.
    """

    def __init__(self, jobs: int, address: str | None, gpus: int = 0) -> None:
        self.jobs = jobs
        self.address = address
        self.gpus = gpus

    def results(self, work: Work, jobs: Iterable[Job]) -> Iterator[RunRecord | None]:
        """Do all jobs.

        Yields:
            Results as they come.

        Raises:
            SettingError: if Ray is not installed, or no cluster is at the address.
            SweepError: if all machines of the cluster are lost.
        """
        try:
            import ray  # pyright: ignore[reportMissingImports] - an extra that few need
        except ImportError as error:
            raise SettingError(
                "--parallel ray needs Ray, which is not installed: pip install ray. On one machine --parallel joblib "
                "does the same."
            ) from error
        begun = not ray.is_initialized()
        if begun:
            try:
                # A machine started here has as many places as runs at a time.
                places = {"num_cpus": self.jobs} if self.address is None else {"address": self.address}
                ray.init(**places, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise SettingError(
                    f"No Ray cluster answers at --address {self.address} ({str(error).splitlines()[0]}); start one "
                    "with `ray start --head`, or leave out --address to use this machine."
                ) from error
        try:
            # A run that fails by itself is an error; one whose machine is lost is begun again without limit.
            remote = ray.remote(num_cpus=1, num_gpus=self.gpus, max_retries=-1, retry_exceptions=False)(work)
            yield from self._drained(ray, remote, iter(jobs))
        finally:
            if begun:
                ray.shutdown()

    def _drained(self, ray: Any, remote: Any, jobs: Iterator[Job]) -> Iterator[RunRecord | None]:
        """Keep so many runs going until there are no more."""
        waiting: list[Any] = []
        more = True
        while more or waiting:
            while more and len(waiting) < self.jobs:
                job = next(jobs, None)
                more = job is not None
                if job is not None:
                    waiting.append(remote.remote(job))
            if not waiting:
                return
            ready, waiting = ray.wait(waiting, num_returns=1)
            for reference in ready:
                try:
                    yield ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    raise error.as_instanceof_cause() from error
                except ray.exceptions.RayError as error:
                    raise SweepError(
                        f"The Ray cluster lost a run for good ({type(error).__name__}); the runs that were over are "
                        "in the store. Run the command again to go on."
                    ) from error


def executor(name: str, jobs: int, address: str | None, device: str = "cpu") -> Executor:
    """The executor of these options.

    Args:
        name: of `PARALLEL`.
        jobs: runs at a time.
        address: of a Ray cluster.
        device: where torch computes.

    Returns:
        The executor.

    Raises:
        SettingError: if they do not fit together.
    """
    if name not in PARALLEL:
        raise SettingError(f"--parallel is one of {', '.join(PARALLEL)}; {name!r} was given.")
    if jobs < 1:
        raise SettingError(f"--jobs is a whole number ≥ 1, {jobs} was given.")
    if name == "none" and jobs > 1:
        raise SettingError(f"--jobs {jobs} needs to know where: add --parallel joblib, or --parallel ray.")
    if address is not None and name != "ray":
        raise SettingError("--address is that of a Ray cluster; add --parallel ray, or leave it out.")
    if name == "ray":
        return Ray(jobs, address, gpus=int(device.startswith("cuda")))
    return Joblib(jobs) if name == "joblib" else OneByOne()
