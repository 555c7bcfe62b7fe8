"""A real Slurm: a login host that runs slurmctld, and hosts that run a slurmd each."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from clusters.hosts import Hosts

NEEDED = ("slurmctld", "slurmd", "srun", "munged")
NODES = ("gpu-a08", "gpu-a09", "gpu-a10")
CPUS = 16  # a node's, whatever this machine has
GPUS = 4
LOGIN = "login"
_DEADLINE_S = 60
_PING = "Slurmctld(primary) at login is {}\n"

_CONF = """
ClusterName=lab
SlurmctldHost={login}({address})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters={consumable}
SlurmdParameters=config_overrides
LaunchParameters=use_interactive_step
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=0,batch_sched_delay=0
{accounting}
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=5
GresTypes=gpu
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
TmpFS={folder}/tmp-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
{nodes}
PartitionName=main Nodes=ALL Default=YES State=UP
"""
_UNACCOUNTED = """AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none"""
_NODE = "NodeName={name} NodeAddr={address} CPUs={cpus} RealMemory=8000 Gres=gpu:{gpus} State=UNKNOWN"


def why_not() -> str:
    """Return why Slurm cannot be started here, "" where it can."""
    missing = [program for program in NEEDED if shutil.which(program) is None]
    return f"Slurm needs {', '.join(missing)} (Debian: slurm-wlm, munge)" if missing else ""


class Slurm:
    """A running cluster.

    Attributes:
        hosts: Its hosts, the login host first.
        conf: Its slurm.conf.
        accounting: The lines of it about accounting.
        consumable: What of a node a job has for itself.
    """

    accounting = _UNACCOUNTED
    consumable = "CR_CPU"

    def __init__(self, folder: Path) -> None:
        """Start one that keeps its files in a folder, and wait until its nodes are idle."""
        self.folder = folder
        self.conf = folder / "slurm.conf"
        self.hosts = Hosts((LOGIN, *NODES), folder)
        try:
            self._configure()
            for host in (LOGIN, *NODES):
                self._munge(host)
            self._before_the_controller()
            self._daemon(LOGIN, "slurmctld", "-D")
            for node in NODES:
                self._daemon(node, "slurmd", "-D", "-N", node)
            self.until(
                "idle\n" * len(NODES), "sinfo", "--noheader", "--Node", "--partition=main", "--format=%T"
            )
        except BaseException:
            self.end()
            raise

    def _before_the_controller(self) -> None:
        """Start what it needs."""

    def _configure(self) -> None:
        devices = self.folder / "dev"
        for name in ("state", "dev", *(f"{kind}-{node}" for kind in ("spool", "tmp") for node in NODES)):
            (self.folder / name).mkdir()
        for i in range(GPUS):
            os.mknod(devices / f"nvidia{i}", 0o020666, os.makedev(1, 3))
        lines = [
            _NODE.format(name=name, address=self.hosts.addresses[name], cpus=CPUS, gpus=GPUS)
            for name in NODES
        ]
        text = _CONF.format(
            login=LOGIN,
            address=self.hosts.addresses[LOGIN],
            folder=self.folder,
            nodes="\n".join(lines),
            accounting=self.accounting,
            consumable=self.consumable,
        )
        self.conf.write_text(text)
        (self.folder / "gres.conf").write_text(f"Name=gpu File={devices}/nvidia[0-{GPUS - 1}]\n")
        key = self.folder / "munge.key"
        key.touch(0o400)
        key.write_bytes(os.urandom(1024))

    def _munge(self, host: str) -> None:
        """Start munged at its usual socket, as each host has a /run of its own."""
        self.hosts.run(host, "install", "--directory", "--mode=0755", "/run/munge")
        files = [f"--{kind}-file=/run/munge/{kind}" for kind in ("pid", "log", "seed")]
        self.hosts.start(
            host,
            *("munged", "--foreground", "--force", f"--key-file={self.folder}/munge.key", *files),
            log=self.folder / f"munged-{host}.log",
        )

    def _daemon(self, host: str, *command: str) -> None:
        log = self.folder / f"{command[0]}-{host}.log"
        self.hosts.start(host, *command, log=log, environ=self.environ())

    def environ(self, **variables: str) -> dict[str, str]:
        """Return this process's environment for this cluster, with further variables."""
        # `salloc` starts $SHELL, which is not set where nobody has logged in.
        return {"SHELL": "/bin/sh", **os.environ, "SLURM_CONF": str(self.conf), **variables}

    def run(
        self, *words: str, cwd: str = "/", check: bool = True, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of Slurm's on the login host to its end."""
        return self.hosts.run(LOGIN, *words, cwd=cwd, environ=self.environ(**variables), check=check)

    def batch(self, script: Path, *flags: str) -> None:
        """Run a batch script in its folder, and wait until no job is left (`sbatch --wait` looks seldom)."""
        self.run("sbatch", *flags, str(script), cwd=str(script.parent))
        self.until("", "squeue", "--noheader")

    def stop_controller(self) -> None:
        """End slurmctld, and wait until it is gone."""
        self.run("sh", "-c", f"kill $(cat {self.folder}/slurmctld.pid)")
        self.until(_PING.format("DOWN"), "sh", "-c", "scontrol ping | head -n 1")

    def start_controller(self) -> None:
        """Start slurmctld, and wait until it answers."""
        self._daemon(LOGIN, "slurmctld", "-D")
        self.until(_PING.format("UP"), "sh", "-c", "scontrol ping | head -n 1")

    def kill_node(self, node: str) -> None:
        """Kill a node's slurmd, and leave what runs there."""
        self.hosts.run(node, "sh", "-c", f"kill -9 $(cat {self.folder}/slurmd-{node}.pid)")

    def start_node(self, node: str) -> None:
        """Start a node's slurmd again, and wait until the node has nothing to do."""
        self._daemon(node, "slurmd", "-D", "-N", node)
        self.until("idle\n", "sinfo", "--noheader", "--Node", f"--nodes={node}", "--format=%T")

    def clear(self) -> None:
        """Cancel every job."""
        if self.run("squeue", "--noheader").stdout:
            self.run("scancel", "--user=root")
            self.until("", "squeue", "--noheader")

    def until(self, wanted: str, *words: str) -> None:
        """Wait until a command prints this."""
        until = time.monotonic() + _DEADLINE_S
        while (got := self.run(*words, check=False)).returncode or got.stdout != wanted:
            if time.monotonic() > until:
                wrong = f"got {got.stdout!r}, expected {wanted!r}"
                raise AssertionError(f"{' '.join(words)}: {wrong}\n{got.stderr}{self._logs()}")
            time.sleep(0.05)

    def _logs(self) -> str:
        return "\n".join(f"{log.name}:\n{log.read_text()[-2000:]}" for log in self.folder.glob("*.log"))

    def end(self) -> None:
        """End every host, and with it every daemon and job."""
        self.hosts.end()
