"""The hosts of a job of PBS, SGE or LSF as its shell sees them, and the scheduler's own way to each.

PBS: pbsdsh(1B) of Torque and the PBS Professional Reference Guide, "pbsdsh": `-n INDEX` counts the lines of
PBS_NODEFILE from 0. SGE: qsub(1), "-inherit", and sge_pe(5), which asks for `control_slaves TRUE`:
https://manpages.debian.org/bookworm/gridengine-client/qrsh.1.en.html. LSF: blaunch(1),
https://www.ibm.com/docs/en/spectrum-lsf/10.1.0?topic=reference-blaunch.
Only Grid Engine is tried on a real one; the others are written from the documents.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jobkit.env.detect import Detection
from jobkit.errors import LaunchError, complaint


@dataclass(frozen=True)
class Allocation:
    """The hosts of a batch job.

    Attributes:
        job: "pbs-12", "sge-7", "lsf-3".
        hosts: In the scheduler's order; the shell runs on the first.
        starters: For each host the words that are put before a command to run it there.
    """

    job: str
    hosts: tuple[str, ...]
    starters: tuple[tuple[str, ...], ...]


def allocation(environ: Mapping[str, str], found: Detection) -> Allocation | None:
    """Return the hosts of the job whose shell this process is in; None in a rank, or without such a job.

    Raises:
        LaunchError: The scheduler's file cannot be read.
    """
    if found.found is not None and found.launcher is not None:
        return None
    if environ.get("PBS_JOBID") and environ.get("PBS_NODEFILE"):
        lines = _read(environ, "PBS_NODEFILE").split()
        hosts = tuple(dict.fromkeys(lines))
        starters = tuple(("pbsdsh", "-n", str(lines.index(host)), "--") for host in hosts)
        return Allocation(f"pbs-{environ['PBS_JOBID']}", hosts, starters)
    if environ.get("JOB_ID") and environ.get("PE_HOSTFILE"):
        rows = _read(environ, "PE_HOSTFILE").splitlines()
        hosts = tuple(dict.fromkeys(row.split()[0] for row in rows if row.split()))
        starters = tuple(("qrsh", "-inherit", "-nostdin", host) for host in hosts)
        return Allocation(f"sge-{environ['JOB_ID']}", hosts, starters)
    if environ.get("LSB_JOBID"):
        hosts = _lsf_hosts(environ)
        return Allocation(f"lsf-{environ['LSB_JOBID']}", hosts, tuple(("blaunch", host) for host in hosts))
    return None


def _lsf_hosts(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the hosts of ranks; the first line of the file of ranks is the host of the shell."""
    if environ.get("LSB_DJOB_RANKFILE"):
        return tuple(dict.fromkeys(_read(environ, "LSB_DJOB_RANKFILE").split()[1:]))
    return tuple(dict.fromkeys(environ.get("LSB_MCPU_HOSTS", "").split()[::2]))


def _read(environ: Mapping[str, str], name: str) -> str:
    path = environ[name]
    try:
        return Path(path).read_text()
    except (OSError, ValueError) as error:
        raise LaunchError(complaint(f"{name}={path}", f"cannot be read ({error})")) from error


def check(job: Allocation) -> None:
    """Refuse a job whose scheduler's starter is missing.

    Raises:
        LaunchError: It is; names the line to use instead.
    """
    starter = job.starters[0][0]
    if shutil.which(starter) is None:
        where = f"{job.job} has {len(job.hosts)} hosts ({', '.join(job.hosts[:4])})"
        hint = f"mpiexec -n {len(job.hosts)} jobkit exec -- COMMAND, or add the folder of {starter} to PATH"
        raise LaunchError(complaint(where, f"the scheduler's {starter} is not on PATH", hint=hint))
