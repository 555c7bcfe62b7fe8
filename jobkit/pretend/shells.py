"""What schedulers tell the one shell that they start: the slots of the job, in a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jobkit.pretend.place import Place

Variables = dict[str, str]


def pbs(place: Place) -> Variables:
    """Return what PBS sets for `qsub -l select=N:mpiprocs=M`; PBS_NODEFILE has a line for every slot."""
    nodefile = Path(place.files, "nodefile")
    nodefile.write_text(f"{place.host}\n" * place.shape.size)
    found = {
        "JOBID": f"{place.number}.pretended",
        "JOBNAME": "pretended",
        "ENVIRONMENT": "PBS_BATCH",
        "NODEFILE": str(nodefile),
        "NODENUM": "0",
        "TASKNUM": "1",
        "QUEUE": "pretended",
        "O_HOST": place.host,
        "O_WORKDIR": place.folder,
    }
    return {f"PBS_{name}": value for name, value in found.items()}


def sge(place: Place) -> Variables:
    """Return what Grid Engine sets for `qsub -pe mpi SLOTS`; PE_HOSTFILE has a line for the one host."""
    hostfile = Path(place.files, "pe_hostfile")
    hostfile.write_text(f"{place.host} {place.shape.size} all.q@{place.host} UNDEFINED\n")
    return {
        "JOB_ID": str(place.number),
        "JOB_NAME": "pretended",
        "PE": "mpi",
        "PE_HOSTFILE": str(hostfile),
        "NSLOTS": str(place.shape.size),
        "NHOSTS": "1",
        "QUEUE": "all.q",
        "SGE_TASK_ID": "undefined",
        "SGE_O_HOST": place.host,
        "SGE_O_WORKDIR": place.folder,
    }


SHELLS: dict[str, Callable[[Place], Variables]] = {"pbs": pbs, "sge": sge}
