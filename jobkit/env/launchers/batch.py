"""The refusal of a batch shell: schedulers that start one script on the first host of a job, and no ranks."""

from __future__ import annotations

from jobkit.env.placement import NotARank

_SHOWN = 4


def refusal(scheduler: str, variable: str, job: str, slots: dict[str, int] | None, starter: str) -> NotARank:
    """Say that this process is the shell of a batch job, what the job has, and how to start ranks there.

    Args:
        scheduler: Its name for people.
        variable: The variable that names the job.
        job: Its value.
        slots: Slots of each host, in order; None where they are not known.
        starter: A line that starts ranks with the scheduler's or an MPI library's own launcher.
    """
    return NotARank(
        f"{variable}={job}: the shell of {scheduler} job {job}{_sizes(slots)}, which is no rank; start the "
        f"ranks with jobkit launch -- COMMAND, or {starter}",
        f"{scheduler.lower()}-{job}",
    )


def _sizes(slots: dict[str, int] | None) -> str:
    if not slots:
        return ""
    shown = [f"{host} {n}" for host, n in list(slots.items())[:_SHOWN]]
    more = ["…"] if len(slots) > _SHOWN else []
    return f" ({sum(slots.values())} slots on {len(slots)} hosts: {', '.join([*shown, *more])})"
