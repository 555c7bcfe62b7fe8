"""Find the jobs of a user, and the one that a JOB argument names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from jobkit.errors import SpecError, SubmitError, complaint
from jobkit.jobs import foreign, home, ids, index, record
from jobkit.jobs.folder import task_folder
from jobkit.jobs.record import Record

SCHEDULERS = ("slurm",)


@dataclass(frozen=True)
class Found:
    """A job, or one point of a sweep.

    Attributes:
        id: The job's id.
        folder: Its run folder.
        point: The sweep point that is meant, None for the whole job.
        link: Its entry among the jobs: the run folder, or a link to it.
    """

    id: str
    folder: Path
    point: str | None = None
    link: Path = Path()

    @property
    def base(self) -> Path:
        """The folder whose attempts are meant: the job's, or the point's inside it."""
        return task_folder(self.folder, self.point)

    @property
    def exists(self) -> bool:
        """Whether the job has been submitted, or came near it."""
        return (self.folder / record.RECORD).exists()


def names(environ: Mapping[str, str]) -> list[str]:
    """Return the ids of all jobs in their order.

    Raises:
        SubmitError: The folder of jobs cannot be read.
    """
    folder = home.jobs(environ)
    try:
        with os.scandir(folder) as entries:
            found = [entry.name for entry in entries if entry.is_symlink() or entry.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SubmitError(complaint(str(folder), f"cannot be read: {error.strerror}")) from error
    return sorted(name for name in found if not name.startswith("."))


def listed(name: str, environ: Mapping[str, str]) -> Found:
    """Return a job among those that are listed."""
    link = home.jobs(environ) / name
    return Found(name, link.resolve(), link=link)


def every(environ: Mapping[str, str]) -> list[Found]:
    """Return all jobs in the order of their ids.

    Raises:
        SubmitError: The folder of jobs cannot be read.
    """
    return [listed(name, environ) for name in names(environ)]


def one(job: str, environ: Mapping[str, str]) -> Found:
    """Return the job that an id, a prefix of one, `last`, `ID/POINT` or `slurm:12345` names.

    Raises:
        SpecError: None, or more than one.
    """
    scheduler, colon, number = job.partition(":")
    if colon and scheduler in SCHEDULERS:
        return _scheduled(scheduler, number, job, environ)
    name, slash, point = job.partition("/")
    found = _last(environ) if name == ids.LAST else _named(name, environ)
    return _point(found, point, job) if slash else found


def _named(name: str, environ: Mapping[str, str]) -> Found:
    ids_ = names(environ)
    matches = [name] if name in ids_ else [job_id for job_id in ids_ if name and job_id.startswith(name)]
    if len(matches) == 1:
        return listed(matches[0], environ)
    if matches:
        known = ", ".join(matches[:5]) + (", …" if len(matches) > 5 else "")
        raise SpecError(
            complaint("JOB", "the beginning of several ids", got=name, expected=f"one of {known}")
        )
    raise _unknown(name)


def _unknown(job: str) -> SpecError:
    return SpecError(complaint("JOB", "no such job", got=job, hint="jobkit list"))


def _last(environ: Mapping[str, str]) -> Found:
    jobs, kept = names(environ), index.Index(home.home(environ))
    if not jobs:
        raise _unknown(ids.LAST)
    base = home.jobs(environ)
    return listed(max(jobs, key=lambda name: (_created(base, name, kept), name)), environ)


def _created(base: Path, name: str, kept: index.Index) -> str:
    entry = kept.get(name, index.stamp(f"{base}/{name}"))
    if entry is not None:
        return entry.created
    try:
        return _known((base / name).resolve()).created
    except record.UnreadableError:
        return ""


def _known(folder: Path) -> Record:
    return foreign.look(folder) or record.read(folder)


def _point(found: Found, point: str, job: str) -> Found:
    try:
        points = [task.point for task in _known(found.folder).tasks if task.point is not None]
    except record.UnreadableError as error:
        raise SpecError(str(error)) from error
    if point not in points:
        expected = f"one of {', '.join(points)}" if points else "the id alone: it is not a sweep"
        raise SpecError(complaint("JOB", "no such point", got=job, expected=expected))
    return replace(found, point=point)


def _scheduled(scheduler: str, number: str, job: str, environ: Mapping[str, str]) -> Found:
    number, underscore, point = number.partition("_")
    kept = index.Index(home.home(environ))
    base = home.jobs(environ)
    for name in names(environ):
        entry = kept.get(name, index.stamp(f"{base}/{name}"))
        if entry is not None and (entry.executor, entry.scheduler_id) != (scheduler, number):
            continue
        found = listed(name, environ)
        try:
            known = _known(found.folder)
        except record.UnreadableError:
            continue
        if known.executor == scheduler and known.scheduler_id == number:
            return _point(found, point, job) if underscore else found
        if known.executor == foreign.EXECUTOR and known.id == f"{scheduler}-{number}":
            return found
    raise _unknown(job)
