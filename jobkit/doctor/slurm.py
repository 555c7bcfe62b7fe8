"""Checks of Slurm: that it answers, what it has, and whether it would take the job."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from jobkit.doctor.row import FAILS, OK, WARNING, Question, Row
from jobkit.errors import SubmitError
from jobkit.plan import Plan
from jobkit.slurm import client

_NO_LIMIT = ("UNLIMITED", "NONE", "INFINITE", "")


def checks(question: Question) -> Iterator[Row]:
    """Yield what concerns a spec for Slurm; nothing for others."""
    plan = question.slurm
    if plan is None:
        return
    environ = client.own_environ(question.environ)
    try:
        version = client.call(("sbatch", "--version"), environ)
        if version.status == 0:
            yield Row("Slurm", OK, version.out.strip())
        config = client.call(("scontrol", "show", "config"), environ)
        if config.status:
            yield Row("slurmctld", FAILS, config.words, "scontrol ping; SLURM_CONF names the cluster")
            return
        settings = fields(config.out)
        yield Row("slurmctld", OK, f"answers ({settings.get('SLURM_VERSION', '?')})")
        yield kinds_of_mpi(plan, client.call(("srun", "--mpi=list"), environ))
        yield from features(plan, settings)
        yield partition(plan, client.call(("scontrol", "show", "partition", "--oneliner"), environ))
        yield taken(question)
    except SubmitError as error:
        yield Row("Slurm", FAILS, str(error).partition("\n")[0], "run it on a login node of the cluster")


def fields(text: str) -> dict[str, str]:
    """Return what `scontrol show config` says.

    >>> fields("JobRequeue              = 1\\nPreemptMode = OFF")
    {'JobRequeue': '1', 'PreemptMode': 'OFF'}
    """
    lines = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip() for name, equals, value in lines if equals}


def kinds_of_mpi(plan: Plan, answer: client.Answer) -> Row:
    """Return the kinds of MPI that srun can start ranks for."""
    # Slurm 22.05 answers on stderr, newer ones on stdout: a kind a line, below a heading.
    known = re.findall(r"^\s*(?:srun: )?(?:\t|\s)*([a-z][a-z0-9_]*)$", answer.out + answer.err, re.MULTILINE)
    kinds = [kind for kind in dict.fromkeys(known) if kind not in ("none", "openmpi")]
    found = ", ".join(kinds) or "none"
    asked = plan.slurm.srun.get("mpi")
    if asked and asked not in (*known, "none") and not any(asked.startswith(f"{kind}_") for kind in kinds):
        return Row("MPI", FAILS, f"srun has no {asked}, but {found}", "slurm.srun.mpi: one of these")
    if "mpi" in plan.backend and not kinds:
        return Row(
            "MPI", FAILS, "srun starts no ranks of MPI", "ask for Slurm's PMIx plugin, or backend: ring"
        )
    return Row("MPI", OK, found)


def features(plan: Plan, settings: Mapping[str, str]) -> Iterator[Row]:
    """Yield what the cluster is configured for, against what the job needs of it."""
    again = settings.get("JobRequeue") == "1"
    yield Row("requeue", OK, "every job, unless it says no" if again else "jobs that ask for it (retries)")
    kept = settings.get("AccountingStorageType", "").rpartition("/")[2]
    has_none = kept in ("none", "", "(null)")
    yield Row("accounting", OK, "none: ends are known from jobkit's own records" if has_none else kept)
    yield tracking(settings.get("ProctrackType", ""))
    yield preemption(plan, settings.get("PreemptMode", "OFF"))
    most, points = settings.get("MaxArraySize", ""), len(plan.tasks)
    if plan.is_sweep and most.isdecimal() and points > int(most):
        found = f"{points} points, and MaxArraySize is {most}"
        yield Row("sweep", FAILS, found, "divide the sweep: one spec for each part")
    elif plan.is_sweep:
        yield Row("sweep", OK, f"{points} points (MaxArraySize {most or 'unknown'})")


def tracking(kind: str) -> Row:
    """Return whether Slurm finds every process that a job has started."""
    if kind == "proctrack/cgroup":
        return Row("processes", OK, kind)
    found = f"ProctrackType={kind}: what a killed rank has started in sessions of its own may stay"
    return Row("processes", WARNING, found, "ask for proctrack/cgroup")


def preemption(plan: Plan, mode: str) -> Row:
    """Return what becomes of a job that has to make room."""
    if plan.retries.preempted and "REQUEUE" not in mode:
        found = f"PreemptMode={mode}: Slurm does not queue preempted jobs again"
        return Row("preemption", WARNING, found, "a partition or QOS with PreemptMode=REQUEUE")
    return Row("preemption", OK, f"PreemptMode={mode}")


def partition(plan: Plan, answer: client.Answer) -> Row:
    """Return whether the partition's limits let the job start: Slurm may queue it for ever otherwise."""
    rows = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in answer.out.splitlines()]
    wanted = plan.slurm.partition
    found = [
        row
        for row in rows
        if row.get("PartitionName") == wanted or (not wanted and row.get("Default") == "YES")
    ]
    if not found:
        known = ", ".join(row.get("PartitionName", "?") for row in rows)
        wrong = f"no partition {wanted}" if wanted else "no default partition"
        return Row("partition", FAILS, f"{wrong}; there are {known}", "slurm.partition: one of these")
    row = found[0]
    name = row["PartitionName"]
    if row.get("State") != "UP":
        return Row("partition", FAILS, f"{name} is {row.get('State')}", "slurm.partition: another one")
    longest, most = limit_s(row.get("MaxTime", "")), row.get("MaxNodes", "")
    if plan.time_s is not None and longest is not None and plan.time_s > longest:
        return Row("partition", FAILS, f"{name}: MaxTime={row['MaxTime']}", "time: no more than this")
    if most.isdecimal() and plan.nodes > int(most):
        return Row("partition", FAILS, f"{name}: MaxNodes={most}", "nodes: no more than this")
    return Row("partition", OK, f"{name} (MaxTime {row.get('MaxTime', '?')}, MaxNodes {most or '?'})")


def limit_s(text: str) -> int | None:
    """Return a time of Slurm's in seconds, None without a limit.

    >>> limit_s("1-02:00:30"), limit_s("00:30:00"), limit_s("UNLIMITED")
    (93630, 1800, None)
    """
    if text in _NO_LIMIT:
        return None
    days, dash, clock = text.rpartition("-")
    seconds = 0
    for number in clock.split(":"):
        seconds = seconds * 60 + int(number)
    return seconds + (int(days) * 86400 if dash else 0)


def taken(question: Question) -> Row:
    """Return what Slurm says to the very script that would be sent."""
    from jobkit.executors import slurm

    assert question.submission is not None, "a plan for Slurm comes with its submission"
    try:
        slurm.check(question.submission, question.environ)
    except SubmitError as error:
        return Row("submission", FAILS, str(error), "change the spec: sbatch --test-only refuses its script")
    return Row("submission", OK, "sbatch --test-only takes the script")
