"""Several hosts on one machine: each with processes, name, network, /run, /proc and /dev/shm of its own.

A host is what the first process of its namespaces holds, and that process reads a pipe of the test's: when
the pipe closes, by `Hosts.end` or because the test died, the kernel ends every process of the host and takes
its network and mounts down with it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

NEEDED = ("unshare", "nsenter", "ip", "mount")
_SPACES = ("--mount", "--uts", "--ipc", "--net", "--pid")
_DEADLINE_S = 120

# The first process of a host. Whatever its children leave behind is reaped by the kernel (CHLD is ignored).
_FIRST = """
set -e
hostname "$1"
mount --bind "$2" /etc/hosts
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
ip link set lo up
echo ready
exec env --ignore-signal=CHLD cat >/dev/null
"""


def why_not() -> str:
    """Return why there can be no hosts here, "" where there can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "hosts of one's own need root"
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing:
        return f"hosts of one's own need {', '.join(missing)}"
    tried = subprocess.run(
        ["unshare", "--fork", *_SPACES, "--mount-proc", "ip", "link", "add", "switch", "type", "bridge"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"hosts of one's own cannot be had: {tried.stderr.strip()}" if tried.returncode else ""


class Hosts:
    """Hosts on one switch.

    Attributes:
        addresses: The address of each by its name; the first host is the switch too.
    """

    def __init__(self, names: Sequence[str], folder: Path, subnet: str = "10.77.0") -> None:
        """Start hosts of these names; `folder` is for their /etc/hosts, `subnet` the first three numbers."""
        self.addresses = {name: f"{subnet}.{i}" for i, name in enumerate(names, start=1)}
        self._first: dict[str, subprocess.Popen[str]] = {}
        self._undo = contextlib.ExitStack()
        with contextlib.ExitStack() as undo:
            undo.callback(self.end)
            table = folder / "hosts"
            lines = [f"{address} {name}" for name, address in self.addresses.items()]
            table.write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
            for name in names:
                self._first[name] = _start(name, table)
            self._connect(*names)
            undo.pop_all()

    def _connect(self, switch: str, *others: str) -> None:
        self._outside(switch, "link", "add", "eth0", "type", "bridge")
        for i, name in enumerate(others):
            space = str(self.process_id(name))
            peer = ("type", "veth", "peer", "name", "eth0", "netns", space)
            self._outside(switch, "link", "add", f"port{i}", *peer)
            self._outside(switch, "link", "set", f"port{i}", "master", "eth0", "up")
        for name, address in self.addresses.items():
            self._outside(name, "addr", "add", f"{address}/24", "dev", "eth0")
            self._outside(name, "link", "set", "eth0", "up")

    def _outside(self, host: str, *words: str) -> None:
        """Run `ip` in a host's network, with the process ids of this side."""
        _run(["nsenter", f"--net=/proc/{self.process_id(host)}/ns/net", "ip", *words])

    def process_id(self, host: str) -> int:
        """Return the id, on this side, of the first process of a host."""
        unshare = self._first[host].pid
        return int(Path(f"/proc/{unshare}/task/{unshare}/children").read_text())

    def command(self, host: str, *words: str, cwd: str = "/") -> list[str]:
        """Return the command that runs another one on a host."""
        return ["nsenter", f"--target={self.process_id(host)}", *_SPACES, f"--wdns={cwd}", *words]

    def run(
        self,
        host: str,
        *words: str,
        cwd: str = "/",
        environ: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a host to its end."""
        return _run(self.command(host, *words, cwd=cwd), environ=environ, check=check)

    def start(self, host: str, *words: str, log: Path, environ: Mapping[str, str] | None = None) -> None:
        """Start a program on a host that stays until the host ends."""
        with log.open("ab") as file:
            child = subprocess.Popen(
                self.command(host, *words), stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environ
            )
        self._undo.callback(child.wait, _DEADLINE_S)

    def end(self) -> None:
        """End every host, with all that runs there."""
        for first in self._first.values():
            assert first.stdin is not None
            first.stdin.close()
        for first in self._first.values():
            assert first.stdout is not None
            first.wait(_DEADLINE_S)
            first.stdout.close()
        self._undo.close()


def _start(name: str, table: Path) -> subprocess.Popen[str]:
    first = subprocess.Popen(
        [
            "unshare",
            "--fork",
            "--kill-child",
            *_SPACES,
            "--mount-proc",
            "sh",
            "-c",
            _FIRST,
            "sh",
            name,
            str(table),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout is not None
    if first.stdout.readline() != "ready\n":
        first.kill()
        first.wait()
        raise OSError(f"host {name} does not start")
    return first


def _run(
    command: Sequence[str], environ: Mapping[str, str] | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environ,
        timeout=_DEADLINE_S,
        check=False,
    )
    if check and ended.returncode:
        raise AssertionError(f"{' '.join(command)}: status {ended.returncode}\n{ended.stdout}{ended.stderr}")
    return ended
