"""A real Grid Engine: a login host that runs sge_qmaster, and hosts that run an sge_execd each."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from clusters.hosts import Hosts

NEEDED = ("sge_qmaster", "sge_execd", "qconf", "qsub")
NODES = ("n1", "n2")
_LOGIN = "login"
_DEADLINE_S = 60
_SLOTS = 8
# Where Debian's packages put the cell that they make, by what a host of ours finds there.
_FOLDERS = {"lib": "/var/lib/gridengine", "spool": "/var/spool/gridengine"}

_ENVIRONMENT = """\
pe_name            mpi
slots              999
user_lists         NONE
xuser_lists        NONE
start_proc_args    NONE
stop_proc_args     NONE
allocation_rule    $round_robin
control_slaves     TRUE
job_is_first_task  FALSE
urgency_slots      min
accounting_summary FALSE
qsort_args         NONE
"""
_QUEUE = {
    "qname": "all.q",
    "hostlist": " ".join(NODES),
    "slots": str(_SLOTS),
    "pe_list": "mpi",
    "load_thresholds": "NONE",  # however busy the machine is
    "tmpdir": "/run",  # each host has its own: a job's folder has the same name on all of them
    "shell": "/bin/sh",
    "shell_start_mode": "unix_behavior",
}
_GLOBAL = {"min_uid": "0", "min_gid": "0"}
_SCHEDULER = {"schedule_interval": "0:0:1", "flush_submit_sec": "1", "flush_finish_sec": "1"}


def why_not() -> str:
    """Return why Grid Engine cannot be started here, "" where it can."""
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing:
        return f"Grid Engine needs {', '.join(missing)} (Debian: gridengine-master, -exec, -client)"
    missing = [folder for folder in _FOLDERS.values() if not Path(folder).is_dir()]
    return f"Grid Engine needs {', '.join(missing)}, which Debian's packages make" if missing else ""


class GridEngine:
    """A running cluster.

    Attributes:
        hosts: Its hosts, the login host first.
    """

    def __init__(self, folder: Path) -> None:
        """Start one on a copy of the system's empty cell, and wait until its queue takes jobs."""
        self.folder = folder
        self.hosts = Hosts((_LOGIN, *NODES), folder)
        try:
            self._copy()
            self._daemon(_LOGIN, "sge_qmaster")
            self._until(lambda: self.run("qconf", "-sh", check=False).returncode == 0, "sge_qmaster")
            self._configure()
            for node in NODES:
                self._daemon(node, "sge_execd")
            self._until(self._is_ready, "sge_execd")
        except BaseException:
            self.end()
            raise

    def _copy(self) -> None:
        for name, place in _FOLDERS.items():
            subprocess.run(["cp", "--archive", place, self.folder / name], check=True)
            for host in self.hosts.addresses:
                self.hosts.run(host, "mount", "--bind", str(self.folder / name), place)
        (self.folder / "lib/default/common/act_qmaster").write_text(f"{_LOGIN}\n")

    def _daemon(self, host: str, program: str) -> None:
        log = self.folder / f"{program}-{host}.log"
        self.hosts.start(host, program, log=log, environ={**self.environ(), "SGE_ND": "1"})

    def _configure(self) -> None:
        for host in self.hosts.addresses:
            self.run("qconf", "-as", host)
        for node in NODES:
            self.run("qconf", "-ah", node)
        self._set("-Mconf", "global", "-sconf", _GLOBAL)
        self._set("-Msconf", "scheduler", "-ssconf", _SCHEDULER)
        environment = self.folder / "mpi"
        environment.write_text(_ENVIRONMENT)
        self.run("qconf", "-Ap", str(environment))
        self._set("-Aq", "queue", "-sq", _QUEUE)

    def _set(self, write: str, name: str, read: str, changes: dict[str, str]) -> None:
        """Change some lines of a configuration; qconf takes the name of some from that of the file."""
        lines = self.run("qconf", read).stdout.splitlines()
        kept = [line for line in lines if line.partition(" ")[0] not in changes]
        file = self.folder / name
        file.write_text("\n".join([*(f"{key} {value}" for key, value in changes.items()), *kept, ""]))
        self.run("qconf", write, str(file))

    def _is_ready(self) -> bool:
        """Whether every node's instance of the queue is known and has no state such as `au`, unreachable."""
        lines = [line.split() for line in self.run("qstat", "-f").stdout.splitlines() if "all.q@" in line]
        return len(lines) == len(NODES) and all(len(words) == 5 for words in lines)

    def environ(self) -> dict[str, str]:
        """Return this process's environment for this cluster."""
        return {**os.environ, "SGE_ROOT": _FOLDERS["lib"], "SGE_CELL": "default"}

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command on the login host to its end."""
        return self.hosts.run(_LOGIN, *words, environ=self.environ(), check=check)

    def batch(self, script: Path, *flags: str) -> str:
        """Run a batch script with this environment to its end, and return what it printed."""
        output = script.with_suffix(".out")
        self.run("qsub", "-V", "-wd", str(script.parent), "-o", str(output), "-j", "y", *flags, str(script))
        self._until(lambda: not self.run("qstat").stdout, f"{script.name} ({' '.join(flags)})")
        return output.read_text()

    def _until(self, is_so: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + _DEADLINE_S
        while not is_so():
            if time.monotonic() > until:
                logs = [*self.folder.glob("*.log"), *self.folder.glob("spool/**/messages")]
                said = "\n".join(f"{log}:\n{log.read_text()[-2000:]}" for log in logs)
                raise AssertionError(f"waited {_DEADLINE_S} s for {what}\n{said}")
            time.sleep(0.1)

    def end(self) -> None:
        """End every host, and with it every daemon and job."""
        self.hosts.end()
