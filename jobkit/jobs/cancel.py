"""Ask for a job to be cancelled."""

from __future__ import annotations

import os
import signal

from jobkit.errors import SubmitError, complaint
from jobkit.jobs import folder, foreign, orphans, process, truth, watch
from jobkit.jobs.find import Found
from jobkit.jobs.record import ENDED, LOST, Record, read


def request(found: Found) -> Record:
    """Leave a request for the job's keeper and wake it; return what is known about the job.

    A job that has ended is left as it is. The keeper looks for requests by itself, too, so a request also
    reaches one that is just starting or that runs on another machine.

    Raises:
        SubmitError: The job is another launcher's, or its scheduler does not know it here.
    """
    known = watch.look(found)
    if known.executor == foreign.EXECUTOR and known.state not in ENDED:
        hint = "cancel it where it was started: scancel, ^C at mpirun or torchrun"
        raise SubmitError(complaint(f"job {found.id}", "runs under another launcher", hint=hint))
    if known.scheduler_id is not None and known.state == LOST and _is_open(found):
        hint = "cancel it where its Slurm can be asked; SLURM_CONF names the cluster"
        raise SubmitError(complaint(f"job {found.id}", f"not cancelled: {known.reason}", hint=hint))
    if known.state not in ENDED:
        (found.base / folder.CANCEL).touch(mode=0o600)
        if (found.folder / folder.REMOTE).exists():
            from jobkit.remote import mirror

            mirror.cancel(found.folder, known.id)
        elif known.executor == "slurm":
            _cancel_in_slurm(known)
        elif known.keeper is not None and not process.send(known.keeper, signal.SIGUSR1):
            _end_what_is_left(found, known)
    return known


def _is_open(found: Found) -> bool:
    """Tell whether no end of a job was written down, since nobody could be certain of it."""
    return read(found.folder).state not in ENDED


def _cancel_in_slurm(known: Record) -> None:
    """Tell Slurm; a job without its number is told by its submitter, which looks for the request."""
    from jobkit.slurm import client

    if known.scheduler_id is not None:
        client.cancel(known.scheduler_id, os.environ)


def _end_what_is_left(found: Found, known: Record) -> None:
    """End processes that nobody holds any more, when this is the machine that they run on."""
    here = known.keeper is not None and known.keeper.boot_id == process.boot_id()
    if here and not truth.is_kept(found.folder, known):
        orphans.end(found.base)
