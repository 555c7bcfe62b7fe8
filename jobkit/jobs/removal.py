"""Remove jobs that have ended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from jobkit.jobs import clock, folder, home, record, truth
from jobkit.jobs.find import Found, every

_QUIET_S = 86400.0


def is_due(found: Found, age_s: float | None) -> bool:
    """Tell whether a job has ended, and at least `age_s` seconds ago.

    A job whose record cannot be read is due when nobody holds it. One whose end is not known, because it was
    lost, is as old as its record. What a scheduler does not know may run all the same, on another cluster or
    behind a scheduler that answers wrongly: it is due when nothing was written in its folder for a day.
    """
    try:
        known = truth.look(found.folder, ask=False)
    except record.UnreadableError:
        return folder.is_held(found.folder) is not True and _is_old(_touched(found), age_s)
    if known.state not in record.ENDED:
        return False
    if known.scheduler_id is not None and record.read(found.folder).state not in record.ENDED:
        return _is_old(_written(found.folder), max(age_s or 0.0, _QUIET_S))
    return _is_old(clock.parsed(known.ended) if known.ended else _touched(found), age_s)


def _is_old(moment: datetime, age_s: float | None) -> bool:
    return age_s is None or (clock.now() - moment).total_seconds() >= age_s


def _written(run_dir: Path) -> datetime:
    """Return when something was written last in a run folder."""
    times = [path.lstat().st_mtime for path in (run_dir, *run_dir.rglob("*"))]
    return datetime.fromtimestamp(max(times), timezone.utc)


def _touched(found: Found) -> datetime:
    for path in (found.folder / record.RECORD, found.folder, found.link):
        try:
            return datetime.fromtimestamp(path.lstat().st_mtime, timezone.utc)
        except FileNotFoundError:
            continue
    return clock.now()


def remove(found: Found) -> None:
    """Remove a job's run folder, and its link where the folder lies elsewhere."""
    if found.folder.exists():
        folder.remove(found.folder)
    if found.link.is_symlink():
        found.link.unlink()


def remove_leftovers(environ: Mapping[str, str]) -> None:
    """Remove what submissions and removals that were killed have left half way."""
    parents = {home.jobs(environ), *(found.folder.parent for found in every(environ))}
    for parent in parents:
        for path in folder.leftovers(parent):
            _remove_tree(path)


def _remove_tree(path: Path) -> None:
    import shutil

    shutil.rmtree(path, ignore_errors=True)  # another clean may be at it
