"""Remove jobs that have ended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from jobkit.jobs import clock, folder, home, record, truth
from jobkit.jobs.find import Found, every


def is_due(found: Found, age_s: float | None) -> bool:
    """Tell whether a job has ended, and at least `age_s` seconds ago.

    A job whose record cannot be read is due when nobody holds it. One whose end is not known, because it was
    lost, is as old as its record.
    """
    try:
        known = truth.look(found.folder, ask=False)
    except record.UnreadableError:
        return folder.is_held(found.folder) is not True and _is_old(_touched(found), age_s)
    if known.state not in record.ENDED:
        return False
    return _is_old(clock.parsed(known.ended) if known.ended else _touched(found), age_s)


def _is_old(moment: datetime, age_s: float | None) -> bool:
    return age_s is None or (clock.now() - moment).total_seconds() >= age_s


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
