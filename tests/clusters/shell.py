"""A shell on the login host of a Slurm cluster, for people: `make slurm`."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from clusters import hosts, slurm

WELCOME = """\
A Slurm cluster of three nodes ({nodes}); this is its login host, and jobkit is on PATH.

  sinfo
  jobkit submit configs/slurm.yaml --follow
  sbatch --wait slurm/ring.sbatch python docs/examples/allsum.py

It ends with this shell, and with it its jobs and records.
"""


def main() -> int:
    """Start a cluster, run a shell in it, end it; return the shell's exit status."""
    if reason := hosts.why_not() or slurm.why_not():
        print(f"make slurm: {reason}", file=sys.stderr)
        return 1
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        cluster = slurm.Slurm(Path(folder))
        try:
            return shell(cluster)
        finally:
            cluster.end()


def _leave(number: int, _frame: object) -> None:
    sys.exit(128 + number)


def shell(cluster: slurm.Slurm) -> int:
    """Run bash on the login host, at a terminal of its own where this process has one."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ.update(cluster.environ(PATH=path, JOBKIT_HOME=f"{cluster.folder}/jobkit", PS1=r"slurm \w\$ "))
    bash = cluster.hosts.command(slurm.LOGIN, "bash", "--norc", cwd=str(Path.cwd()))
    if not sys.stdin.isatty():
        return subprocess.run(bash, check=False).returncode
    print(WELCOME.format(nodes=", ".join(slurm.NODES)))
    # The host has processes of its own: its shell cannot take over the terminal of this side's session.
    return os.waitstatus_to_exitcode(pty.spawn(bash))


if __name__ == "__main__":
    sys.exit(main())
