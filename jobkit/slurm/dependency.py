"""What a job comes after, in Slurm's numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jobkit.errors import SubmitError, complaint
from jobkit.jobs import find, record, watch

_KEY = "after"


def numbers(after: Iterable[str], environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the numbers of those predecessors that have not succeeded yet.

    Raises:
        SpecError: There is no such job.
        SubmitError: One has failed, or is not Slurm's.
    """
    found = (_number(job, environ) for job in after)
    return tuple(number for number in found if number is not None)


def _number(job: str, environ: Mapping[str, str]) -> str | None:
    known = watch.look(find.one(job, environ))
    if known.state == record.SUCCEEDED:
        return None
    if known.state in record.ENDED:
        raise SubmitError(
            complaint(_KEY, f"{job} has ended as {known.state}", expected="a job that may succeed")
        )
    if known.scheduler_id is None:
        wrong = f"{job} has no number in Slurm (executor {known.executor}, {known.state})"
        raise SubmitError(complaint(_KEY, wrong, hint=f"jobkit wait {job}"))
    return known.scheduler_id
