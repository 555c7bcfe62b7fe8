"""The batch shell of a job of Sun (Univa, Altair) Grid Engine."""

from __future__ import annotations

from jobkit.env.launchers.batch import refusal
from jobkit.env.placement import Facts, NotARank

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

_JOB, _TASK, _HOSTFILE = "JOB_ID", "SGE_TASK_ID", "PE_HOSTFILE"


def detect(environ: Mapping[str, str], facts: Facts) -> NotARank | None:
    """Say that Grid Engine starts one shell, on the first host of a job.

    SGE_TASK_ID is the index in an array, the word `undefined` in any other job; JOB_ID alone is everybody's.
    Source: qsub(1), "ENVIRONMENTAL VARIABLES", and sge_pe(5) for the lines `host slots queue processors`.
    """
    if not environ.get(_JOB) or not (_TASK in environ or _HOSTFILE in environ):
        return None
    task = environ.get(_TASK, "undefined")
    job = environ[_JOB] if task in ("", "undefined") else f"{environ[_JOB]}.{task}"
    lines = [line.split() for line in dict(facts.files).get(_HOSTFILE, "").splitlines()]
    slots = {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}
    return refusal("SGE", _JOB, job, slots, "mpiexec -n N jobkit exec -- COMMAND")
