"""The hosts of a job of Slurm, PBS, SGE or LSF as its shell sees them, and the scheduler's own way to each.

Slurm: https://slurm.schedmd.com/srun.html, "--overlap": one step beside the shell's, a task a node.

PBS: pbsdsh(1B) of Torque and the PBS Professional Reference Guide, "pbsdsh": `-n INDEX` counts the lines of
PBS_NODEFILE from 0. SGE: qsub(1), "-inherit", and sge_pe(5), which asks for `control_slaves TRUE`:
https://manpages.debian.org/bookworm/gridengine-client/qrsh.1.en.html. LSF: blaunch(1),
https://www.ibm.com/docs/en/spectrum-lsf/10.1.0?topic=reference-blaunch.
Slurm and Grid Engine are tried on real ones; the others are written from the documents.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jobkit.agent.batch import Starter
from jobkit.env import nodelist
from jobkit.env.detect import Detection
from jobkit.env.scrub import scrub
from jobkit.errors import LaunchError, complaint

_JOB, _HET_SIZE = "SLURM_JOB_ID", "SLURM_HET_SIZE"
_LIST, _SIZES = "SLURM_JOB_NODELIST", "SLURM_TASKS_PER_NODE"


@dataclass(frozen=True)
class Allocation:
    """The hosts of a batch job.

    Attributes:
        job: "slurm-44", "pbs-12", "sge-7", "lsf-3".
        hosts: In the scheduler's order.
        ranks: How many of its tasks the scheduler puts on each host; one where it does not say.
        starters: Commands that reach all of them.
        environ: Of these commands.
        here: Whether the shell runs on the first host.
    """

    job: str
    hosts: tuple[str, ...]
    ranks: tuple[int, ...]
    starters: tuple[Starter, ...]
    environ: dict[str, str]
    here: bool = True


def allocation(environ: Mapping[str, str], found: Detection) -> Allocation | None:
    """Return the hosts of the job whose shell this process is in; None in a rank, or without such a job.

    Raises:
        LaunchError: The scheduler's file cannot be read.
    """
    if found.found is not None and found.launcher is not None:
        return None
    if environ.get(_JOB):
        return _slurm(environ)
    if environ.get("PBS_JOBID") and environ.get("PBS_NODEFILE"):
        lines = _read(environ, "PBS_NODEFILE").split()
        return _one_by_one(
            f"pbs-{environ['PBS_JOBID']}",
            {host: ("pbsdsh", "-n", str(lines.index(host)), "--") for host in lines},
            environ,
        )
    if environ.get("JOB_ID") and environ.get("PE_HOSTFILE"):
        hosts = [row.split()[0] for row in _read(environ, "PE_HOSTFILE").splitlines() if row.split()]
        words = {host: ("qrsh", "-inherit", "-nostdin", host) for host in hosts}
        return _one_by_one(f"sge-{environ['JOB_ID']}", words, environ)
    if environ.get("LSB_JOBID"):
        return _one_by_one(
            f"lsf-{environ['LSB_JOBID']}", {host: ("blaunch", host) for host in _lsf_hosts(environ)}, environ
        )
    return None


def _one_by_one(job: str, words: Mapping[str, tuple[str, ...]], environ: Mapping[str, str]) -> Allocation:
    """Return the hosts of a scheduler that has a command for each."""
    starters = tuple(Starter(w, str(node), (node,)) for node, w in enumerate(words.values()))
    return Allocation(job, tuple(words), (1,) * len(words), starters, dict(environ))


def _slurm(environ: Mapping[str, str]) -> Allocation:
    """Return the nodes of an allocation, which the shell of `salloc` is not one of.

    Variables of Slurm's are options to srun: those of the allocation, of a job around it or of a shell's
    start-up file are kept from it, so that it does what it is told here. What the site has as a default is
    said too. A step without `--exact` has all that the job has of a node.
    """
    if environ.get(_HET_SIZE, "1") != "1":
        hint = "srun --het-group=0,1 jobkit exec -- COMMAND"
        wrong = "jobkit launch does not use the allocations of a heterogeneous job"
        raise LaunchError(complaint(f"{_HET_SIZE}={environ[_HET_SIZE]}", wrong, hint=hint))
    hosts = nodelist.hosts(environ.get(_LIST, ""), _LIST)
    sizes = environ.get(_SIZES)
    ranks = nodelist.counts(sizes, _SIZES) if sizes else (1,) * len(hosts)
    if len(ranks) != len(hosts):
        wrong = f"contradicts {_LIST}={environ[_LIST]} ({len(ranks)} and {len(hosts)} nodes)"
        raise LaunchError(complaint(f"{_SIZES}={sizes}", wrong, hint=f"unset {_SIZES}, and say -n RANKS"))
    options = {
        "jobid": environ[_JOB],
        "overlap": "",
        "nodes": str(len(hosts)),
        "ntasks": str(len(hosts)),
        "ntasks-per-node": "1",
        "mem": "0",
        "cpu-bind": "none",
        "mpi": "none",
        "export": "ALL",
        "input": "none",
        "chdir": "/",
        "wait": "0",
        "kill-on-bad-exit": "0",
        "quiet": "",
    }
    words = [f"--{name}={value}" if value else f"--{name}" for name, value in options.items()]
    starter = Starter(("srun", *words), "SLURM_NODEID", tuple(range(len(hosts))))
    return Allocation(f"slurm-{environ[_JOB]}", hosts, ranks, (starter,), scrub(environ), here=False)


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
    starter = job.starters[0].words[0]
    if shutil.which(starter) is None:
        where = f"{job.job} has {len(job.hosts)} hosts ({', '.join(job.hosts[:4])})"
        hint = f"mpiexec -n {len(job.hosts)} jobkit exec -- COMMAND, or add the folder of {starter} to PATH"
        raise LaunchError(complaint(where, f"the scheduler's {starter} is not on PATH", hint=hint))
