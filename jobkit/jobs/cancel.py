"""Ask for a job to be cancelled."""

from __future__ import annotations

import signal

from jobkit.jobs import folder, orphans, process, truth, watch
from jobkit.jobs.find import Found
from jobkit.jobs.record import ENDED, Record


def request(found: Found) -> Record:
    """Leave a request for the job's keeper and wake it; return what is known about the job.

    A job that has ended is left as it is. The keeper looks for requests by itself, too, so a request also
    reaches one that is just starting or that runs on another machine.
    """
    known = watch.look(found)
    if known.state not in ENDED:
        (found.base / folder.CANCEL).touch(mode=0o600)
        if known.keeper is not None and not process.send(known.keeper, signal.SIGUSR1):
            _end_what_is_left(found, known)
    return known


def _end_what_is_left(found: Found, known: Record) -> None:
    """End processes that nobody holds any more, when this is the machine that they run on."""
    here = known.keeper is not None and known.keeper.boot_id == process.boot_id()
    if here and not truth.is_kept(found.folder, known):
        orphans.end(found.base)
