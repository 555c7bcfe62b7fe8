"""Jobs that another launcher started: what their ranks' shims left in a run folder, without a submission."""

from __future__ import annotations

import json
from pathlib import Path

from jobkit.agent import verdict
from jobkit.env.presence import ALIVE
from jobkit.env.record import RankExit
from jobkit.jobs import clock, exits, folder
from jobkit.jobs.process import Identity
from jobkit.jobs.record import (
    FAILED,
    LOST,
    RECORD,
    RUNNING,
    SUCCEEDED,
    JobExit,
    Origin,
    RankRecord,
    Record,
    TaskRecord,
    settled,
)

EXECUTOR = "foreign"
# Where the templates in slurm/ keep the folders of their jobs, by number.
TEMPLATES = ".jobkit"


def name(run_dir: Path) -> str:
    """Return the id of a job by its folder: that of a template's is called by its number alone.

    >>> name(Path("project/.jobkit/12")), name(Path("jobs/slurm-12.0"))
    ('slurm-12', 'slurm-12.0')
    """
    return f"slurm-{run_dir.name}" if run_dir.parent.name == TEMPLATES else run_dir.name


def look(run_dir: Path) -> Record | None:
    """Return what the ranks' own records tell; None for a folder that jobkit's submission made.

    A rank that has not ended has a folder beside the records, which goes with its end: the job goes on while
    somebody holds one, and is lost where one that nobody holds is all that tells of a rank.
    """
    try:
        return _told(run_dir)
    except FileNotFoundError:
        return None  # the whole job is being removed


def _told(run_dir: Path) -> Record | None:
    attempts = sorted((p for p in run_dir.glob("attempt-*") if _number(p)), key=_number)
    if (run_dir / RECORD).exists() or (run_dir / folder.SPEC).exists() or not attempts:
        return None
    known = [ended for path in attempts[-1].glob("rank-*.exit.json") if (ended := _exit(path)) is not None]
    first = verdict.first_failure(known)
    places = [path for path in attempts[-1].iterdir() if path.is_dir()]
    state, exit_ = _end(known, first, places)
    ends = [clock.normal(ended.ended) for ended in known]
    task = TaskRecord(
        point=None,
        values={},
        state=state,
        attempt=_number(attempts[-1]),
        exit=exit_,
        ranks=tuple(_rank(ended) for ended in sorted(known, key=lambda ended: ended.rank)),
        started=min((clock.normal(ended.started) for ended in known), default=None),
        ended=max(ends, default=None) if exit_ else None,
        failed=clock.normal(first.ended) if first else None,
    )
    return settled(
        Record(
            id=name(run_dir),
            name=name(run_dir),
            executor=EXECUTOR,
            state=task.state,
            created=task.started or clock.rfc3339(clock.now()),
            tasks=(task,),
            origin=_NOBODY,
        )
    )


_NOBODY = Origin((), "", "", None, None, (), (), "", None, Identity(0, "", "", ""))


def _end(known: list[RankExit], first: RankExit | None, places: list[Path]) -> tuple[str, JobExit | None]:
    """Return the job's state, and its exit when no rank runs any more."""
    if any(_is_held(place) for place in places) or not (known or places):
        return RUNNING, None
    if first is not None:
        return FAILED, exits.of_rank(first)
    return (LOST, exits.LOST) if places else (SUCCEEDED, exits.SUCCESS)


def _is_held(place: Path) -> bool:
    """Say whether a rank's folder is in use; an agent's is as long as it is there."""
    try:
        return folder.is_locked(place / ALIVE) is not False
    except FileNotFoundError:
        return place.is_dir()


def _number(attempt: Path) -> int:
    """Return the number of `attempt-3`, 0 for a name that has none."""
    text = attempt.name.removeprefix("attempt-")
    return int(text) if text.isdecimal() else 0


def _exit(path: Path) -> RankExit | None:
    try:
        raw = json.loads(path.read_bytes())
        raw.pop("schema")
        return RankExit(**raw)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _rank(ended: RankExit) -> RankRecord:
    return RankRecord(
        rank=ended.rank,
        host=ended.host,
        status=ended.status,
        signal=ended.signal,
        ended_by_jobkit=ended.ended_by_jobkit,
        victim_of=ended.victim_of,
        started=clock.normal(ended.started),
        ended=clock.normal(ended.ended),
    )
