"""The batch shell of a job of PBS Pro, OpenPBS or Torque, or a process that its pbsdsh started."""

from __future__ import annotations

from jobkit.env.launchers.batch import refusal
from jobkit.env.placement import Facts, NotARank

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

_JOB, _ENVIRONMENT, _NODEFILE = "PBS_JOBID", "PBS_ENVIRONMENT", "PBS_NODEFILE"


def detect(environ: Mapping[str, str], facts: Facts) -> NotARank | None:
    """Say that PBS starts one shell, on the first host of a job.

    PBS_TASKNUM, PBS_NODENUM and PBS_VNODENUM are set in that shell too, and make no placement.
    Source: the PBS Professional User's Guide, "Environment Variables"; qsub(1B) of Torque.
    """
    if not environ.get(_JOB):
        return None
    hosts = dict(facts.files).get(_NODEFILE, "").split()
    slots = {host: hosts.count(host) for host in dict.fromkeys(hosts)}
    return refusal("PBS", _JOB, environ[_JOB], slots, "mpiexec -n N jobkit exec -- COMMAND")
