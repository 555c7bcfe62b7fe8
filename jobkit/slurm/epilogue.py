"""The end of a batch script: what ended the attempt, whether another follows, and the exit status.

That is the status of the rank that failed first. No secret stays when no other attempt follows.

usage: python -m jobkit.slurm.epilogue RUN_DIR ATTEMPT STATUS_OF_SRUN [POINT]
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from jobkit.agent import verdict
from jobkit.env.record import RankExit, now
from jobkit.errors import Exit, SubmitError
from jobkit.jobs import files, folder, plan_file, secret_file
from jobkit.plan import Plan, Retries
from jobkit.slurm import again, client, memory, naming, setup

SCHEMA = 1
_FILE = "batch.exit.json"
_SIGKILL = 128 + 9
_KILLED = re.compile(r"^srun: error: (\S+): task (\d+): Killed$", re.MULTILINE)
# srun: error: task 1 launch failed: Slurmd could not connect IO
_REFUSED = re.compile(r"^srun: error: task (\d+) launch failed: (.+)$", re.MULTILINE)
_PROBE = ".look"
_SEEN_S, _LOOK_S = 20.0, 0.5
_PREEMPTED = re.compile(r"\bPreemptTime=\d")
_LOG_BYTES = 1 << 20
_STDERR = Path("/dev/stderr")
# Exit statuses of jobs that Slurm ended, whatever their ranks made of it.
STATUSES = {again.PREEMPTED: int(Exit.CANCELLED), again.NODE_FAILURE: int(Exit.NOT_STARTED)}


@dataclass(frozen=True)
class BatchExit:
    """How the batch script ended; also the text of its record.

    Attributes:
        srun: Status of srun, 143 also where a rank failed and its peers were ended.
        status: That of the rank that failed first, else srun's.
        ended: RFC 3339, UTC.
        rank, host: A rank that was killed with its shim, of which only Slurm tells; None without one.
        reason: Why no rank was started, None where they were.
        out_of_memory: Whether it was killed since the job had more memory than it may.
        kind: What ended it, as `slurm/again.py` has it; None for success.
        again: Whether another attempt follows.
    """

    srun: int
    status: int
    ended: str
    rank: int | None = None
    host: str | None = None
    reason: str | None = None
    out_of_memory: bool = False
    kind: str | None = None
    again: bool = False


def rank_exits(attempt_dir: Path) -> dict[int, RankExit]:
    """Return the exit records that the ranks of an attempt have left by now."""
    found = {}
    for path in attempt_dir.glob("rank-*.exit.json"):
        try:
            raw = json.loads(path.read_bytes())
            raw.pop("schema")
            ended = RankExit(**raw)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        found[ended.rank] = ended
    return found


def batch_exit(attempt_dir: Path) -> BatchExit | None:
    """Return the record of a batch script that has come to its end, None of others."""
    try:
        raw = json.loads((attempt_dir / _FILE).read_bytes())
        raw.pop("schema")
        return BatchExit(**raw)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def killed(log: str) -> tuple[int, str] | None:
    """Return the first rank that srun says was killed, and its host; None where it says nothing of the kind.

    >>> killed("srun: error: gpu-a09: task 3: Killed")
    (3, 'gpu-a09')
    """
    found = _KILLED.search(log)
    return (int(found[2]), found[1]) if found else None


def write(attempt_dir: Path, ended: BatchExit) -> None:
    """Write the record of a batch script.

    Raises:
        OSError: The folder is gone, or its disk is full.
    """
    files.replace(attempt_dir / _FILE, (json.dumps({"schema": SCHEMA, **asdict(ended)}) + "\n").encode())


def log(task_dir: Path) -> str:
    """Return the end of what this script has written, srun's and slurmstepd's complaints among it.

    A template's script writes to where sbatch was told to, the ranks' output too.
    """
    path = naming.log(task_dir) or _STDERR
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def planned(run_dir: Path) -> Plan | None:
    """Return the plan of a job, None of a template's."""
    try:
        return plan_file.loads((run_dir / folder.PLAN).read_text())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def retries(run_dir: Path) -> Retries:
    """Return what a job may be started again for."""
    plan = planned(run_dir)
    return Retries() if plan is None else plan.retries


def unstarted(attempt_dir: Path, ranks: int, said: str) -> str | None:
    """Return why an attempt is no success of which srun says so: a rank that was never started.

    srun takes it for one that ended well when its node cannot open its output. Where all ranks have left
    records they were started; those of other nodes may take a while to be seen on a shared file system.
    """
    refused = _REFUSED.search(said)
    deadline = time.monotonic() + (0.0 if refused else _SEEN_S)
    while missing := sorted(set(range(ranks)) - set(rank_exits(attempt_dir))):
        if time.monotonic() >= deadline:
            if refused:
                return f"rank {refused[1]} was not started: {refused[2]}"
            return f"rank {missing[0]} has left no record that it was started"
        # A client of NFS looks at a folder again once it has itself changed it.
        with contextlib.suppress(OSError):
            (attempt_dir / _PROBE).touch()
            (attempt_dir / _PROBE).unlink()
        time.sleep(_LOOK_S)
    return None


def earlier(task_dir: Path, number: int) -> list[str | None]:
    """Return what ended each attempt before this one."""
    found = (batch_exit(folder.attempt(task_dir, before)) for before in range(1, number))
    return [ended.kind if ended else None for ended in found]


def ending(attempt_dir: Path, srun: int, said: str, ranks: int) -> BatchExit:
    """Return how an attempt ended.

    Args:
        attempt_dir: Its folder.
        srun: The status of srun.
        said: What is in the script's log about it.
        ranks: How many there are at least.
    """
    first = verdict.first_failure(rank_exits(attempt_dir).values())
    kind, exceeded = again.told(said), bool(srun) and memory.was_exceeded(said)
    if first is not None:
        out_of_memory = exceeded and first.status == _SIGKILL
        kind = kind or again.FAILED
        return BatchExit(srun, first.status, now(), kind=kind, out_of_memory=out_of_memory)
    absent = None if srun else unstarted(attempt_dir, ranks, said)
    if absent is not None:
        return BatchExit(srun, int(Exit.NOT_STARTED), now(), reason=absent, kind=kind or again.FAILED)
    unset = setup.failed(attempt_dir) if srun else None
    if unset is not None:
        return BatchExit(srun, int(Exit.NOT_STARTED), now(), reason=unset)
    gone = killed(said) if srun else None
    if exceeded:
        # Where all ranks of a step are killed together, it is not the first that had too much.
        gone = memory.hungriest(os.environ.get("SLURM_JOB_ID", ""), os.environ)
    rank, host = gone or (None, None)
    status = _SIGKILL if gone or exceeded else srun
    kind = kind or (again.FAILED if status else None)
    return BatchExit(srun, status, now(), rank, host, kind=kind, out_of_memory=exceeded)


def _preempted(ended: BatchExit, attempt_dir: Path, wanted: bool, environ: Mapping[str, str]) -> bool:
    """Tell whether an attempt ended in the grace that Slurm gives before it preempts a job.

    Then Slurm neither says so in the log nor starts the job again.
    """
    by_itself = verdict.first_failure(rank_exits(attempt_dir).values()) is not None
    if ended.kind not in (None, again.FAILED) or not (wanted or (ended.srun and not by_itself)):
        return False
    with contextlib.suppress(SubmitError):
        words = ("scontrol", "show", "job", "--oneliner", own_number(environ))
        return bool(_PREEMPTED.search(client.call(words, client.own_environ(environ)).out))
    return False


def own_number(environ: Mapping[str, str]) -> str:
    """Return the number of the job, or task of an array, that this process belongs to.

    >>> own_number({"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"})
    '7_2'
    """
    if "SLURM_ARRAY_TASK_ID" in environ:  # one of the tasks has the number of the whole array as its own
        return f"{environ['SLURM_ARRAY_JOB_ID']}_{environ['SLURM_ARRAY_TASK_ID']}"
    return environ.get("SLURM_JOB_ID", "")


def _requeue(environ: Mapping[str, str]) -> bool:
    """Have Slurm start this job again, which ends this script; tell whether Slurm will."""
    try:
        words = ("scontrol", "requeue", own_number(environ))
        answer = client.call(words, client.own_environ(environ))
    except SubmitError as error:
        print(f"jobkit: {error}", file=sys.stderr)
        return False
    if answer.status:
        print(f"jobkit: scontrol requeue: {answer.words}", file=sys.stderr)
    return answer.status == 0


def erase_secrets(run_dir: Path, point: str | None) -> None:
    """Leave no secret when this is the last script of the job to end.

    Each writes its record before it looks at those of the others.
    """
    if point is None or all(_has_ended(task_dir) for task_dir in folder.points(run_dir)):
        secret_file.erase(run_dir)


def _has_ended(task_dir: Path) -> bool:
    ended = batch_exit(folder.attempt(task_dir, folder.latest_attempt(task_dir)))
    return ended is not None and not ended.again


def _final(ended: BatchExit) -> BatchExit:
    return replace(ended, again=False, status=STATUSES.get(ended.kind or "", ended.status))


def _keep(attempt_dir: Path, ended: BatchExit) -> None:
    # A full disk must not change how the job ends.
    with contextlib.suppress(OSError):
        write(attempt_dir, ended)


def main(argv: list[str], environ: Mapping[str, str]) -> int:
    """Write the script's record, have the job started again where that is due, and return the exit status."""
    run_dir, number, srun = Path(argv[0]), int(argv[1]), int(argv[2])
    point = argv[3] if len(argv) > 3 else None
    task_dir = folder.task_folder(run_dir, point)
    attempt_dir = folder.attempt(task_dir, number)
    plan, allowed = planned(run_dir), retries(run_dir)
    ranks = 0 if plan is None else plan.ranks
    ended = ending(attempt_dir, srun, again.section(log(task_dir), number), ranks)
    starts_again = ended.kind in again.BY_SLURM and any(asdict(allowed).values())
    if _preempted(ended, attempt_dir, allowed.preempted > 0, environ):
        ended = replace(ended, kind=again.PREEMPTED)
    follows = again.allowed(ended.kind, earlier(task_dir, number), allowed)
    ended = replace(ended, again=True) if follows else _final(ended)
    _keep(attempt_dir, ended)
    if ended.again and not starts_again and not _requeue(environ):
        ended = _final(ended)
        _keep(attempt_dir, ended)
    if not ended.again:
        with contextlib.suppress(OSError, ValueError):
            erase_secrets(run_dir, point)
        if starts_again:
            with contextlib.suppress(SubmitError):
                client.cancel(own_number(environ), environ)
    return ended.status


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # by which Slurm ends a job; KILL comes later
    sys.exit(main(sys.argv[1:], os.environ))
