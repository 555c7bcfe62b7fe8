"""Guests of QEMU, which bring soft-RoCE along: a Debian kernel of their own over the host's file system.

A guest sees the host's files read-only; what it writes itself it alone sees, and it is gone with the guest.
It has two emulated processors. Commands go through a socket that both ends inherit, as does the cable between
two guests: no port, no name, and when the test dies, the guest does.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

KERNEL = Path(__file__).parents[2] / "build" / "kernel"
QEMU = "qemu-system-x86_64"
NEEDED = (QEMU, "setpriv", "rdma", "ibv_devinfo", "ib_send_bw")
# A machine that emulates a processor while others want its own two: minutes, where it is seconds alone.
DEADLINE_S = 300.0
_AGENT = Path(__file__).with_name("guest_agent.py")


def why_not() -> str:
    """Return why there can be no guests here, "" where there can."""
    reason = KERNEL / "why-not"
    if reason.exists():
        return f"no guests of QEMU: {reason.read_text().strip()}"
    if not (KERNEL / "initramfs.gz").exists():
        return f"no guests of QEMU: no kernel in {KERNEL}; `make test` brings it"
    missing = [program for program in NEEDED if shutil.which(program) is None]
    return f"guests of QEMU need {', '.join(missing)}" if missing else ""


class Guest:
    """One guest.

    Attributes:
        name: Its host name.
        console: What its kernel has said.
    """

    def __init__(self, name: str, folder: Path, cables: Sequence[int] = (), memory_mb: int = 2048) -> None:
        """Boot.

        Args:
            name: Its host name.
            folder: For its console.
            cables: Descriptors of sockets, each a cable to another guest; the first is eth0.
            memory_mb: At most so much is taken of the host, in MiB.

        Raises:
            AssertionError: It does not come up.
        """
        self.name = name
        self.console = folder / f"{name}.console"
        self._last = 0
        self._answers: dict[int, subprocess.CompletedProcess[str]] = {}
        self._asked: dict[int, Sequence[str]] = {}
        self._pending = b""
        self._port, theirs = socket.socketpair()
        with theirs, self.console.with_suffix(".qemu").open("wb") as log:
            self._qemu = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self._command(theirs.fileno(), cables, memory_mb)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(theirs.fileno(), *cables),
            )
        try:
            words = (sys.executable, "-IS", str(_AGENT))
            path = shlex.quote(f"{os.environ['PATH']}:/usr/sbin:/sbin")
            self._port.sendall(f"PATH={path} exec {shlex.join(words)} $PORT\n".encode())
            self._read(until=0)
            self.run("hostname", name)
            self.run("ip", "link", "set", "lo", "up")
        except BaseException:
            self.end()
            raise

    def _command(self, port: int, cables: Sequence[int], memory_mb: int) -> list[str]:
        number = sum(self.name.encode()) % 256  # addresses of two guests on a cable have to differ
        nics = [
            word
            for i, cable in enumerate(cables)
            for word in (
                *("-netdev", f"socket,id=cable{i},fd={cable}"),
                *("-device", f"virtio-net-pci,netdev=cable{i},mac=52:54:00:00:{i:02x}:{number:02x},romfile="),
            )
        ]
        return [
            *(QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", f"{memory_mb}M"),
            *("-kernel", str(KERNEL / "vmlinuz"), "-initrd", str(KERNEL / "initramfs.gz")),
            *("-append", "console=ttyS0 quiet panic=-1 mitigations=off"),
            *("-serial", f"file:{self.console}"),
            *("-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"),
            *("-device", "virtio-9p-pci,fsdev=host,mount_tag=host"),
            *("-chardev", f"socket,id=port,fd={port}", "-device", "virtio-serial-pci"),
            *("-device", "virtserialport,chardev=port,nr=1"),
            *nics,
        ]

    def start(
        self,
        *words: str,
        cwd: str = "/",
        environ: Mapping[str, str] | None = None,
        text: str = "",
    ) -> int:
        """Start a command, beside those that run, in a bare environment with `environ`; return its number."""
        self._last += 1
        self._asked[self._last] = words
        full = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "HOME": "/root", "LANG": "C.UTF-8"}
        asked = {"id": self._last, "words": words, "cwd": cwd, "input": text}
        asked["environ"] = full | dict(environ or {})
        self._port.sendall(json.dumps(asked).encode() + b"\n")
        return self._last

    def wait(self, number: int, deadline_s: float = DEADLINE_S) -> subprocess.CompletedProcess[str]:
        """Return what a started command has given, when it has ended."""
        self._read(until=number, deadline_s=deadline_s)
        return self._answers.pop(number)

    def run(
        self,
        *words: str,
        cwd: str = "/",
        environ: Mapping[str, str] | None = None,
        text: str = "",
        check: bool = True,
        deadline_s: float = DEADLINE_S,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        done = self.wait(self.start(*words, cwd=cwd, environ=environ, text=text), deadline_s)
        if check and done.returncode:
            told = f"{done.stdout}{done.stderr}"
            raise AssertionError(f"{self.name}: {shlex.join(words)}: status {done.returncode}\n{told}")
        return done

    def _read(self, until: int, deadline_s: float = DEADLINE_S) -> None:
        """Take answers in until that one is there; 0 is the greeting."""
        deadline = time.monotonic() + deadline_s
        while until not in self._answers:
            self._port.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                part = self._port.recv(1 << 16)
            except (TimeoutError, ConnectionResetError):
                part = b""
            if not part:
                ended = "has ended" if time.monotonic() < deadline else f"says nothing in {deadline_s:.0f} s"
                raise AssertionError(f"guest {self.name} {ended}\n{self._last_words()}")
            *lines, self._pending = (self._pending + part).split(b"\n")
            for told in map(json.loads, lines):
                words = self._asked.pop(told["id"], ())
                status, out, err = told.get("status", 0), told.get("out", ""), told.get("err", "")
                self._answers[told["id"]] = subprocess.CompletedProcess(words, status, out, err)

    def _last_words(self) -> str:
        told = [self.console.with_suffix(".qemu"), self.console]
        return "".join(path.read_text(errors="replace")[-3000:] for path in told if path.exists())

    def soft_roce(self, device: str, netdev: str) -> None:
        """Make an RDMA device over a network device."""
        self.run("rdma", "link", "add", device, "type", "rxe", "netdev", netdev)

    def end(self) -> None:
        """End the guest with all that runs there."""
        self._port.close()
        try:
            self._qemu.wait(30)
        except subprocess.TimeoutExpired:
            self._qemu.kill()
            self._qemu.wait()


@contextlib.contextmanager
def one(folder: Path, name: str = "alone") -> Iterator[Guest]:
    """Give a guest with the device rxe0 over its loopback.

    Two devices of one kernel do not reach each other, so that ranks on one guest share a single one.
    """
    guest = Guest(name, folder)
    try:
        guest.soft_roce("rxe0", "lo")
        yield guest
    finally:
        guest.end()


@contextlib.contextmanager
def two(folder: Path, names: tuple[str, str] = ("left", "right")) -> Iterator[list[Guest]]:
    """Give two guests with two cables: rxe0 over eth0 (10.1.0.N), and eth1 (10.2.0.N) for all else."""
    cables = [socket.socketpair() for _ in range(2)]
    with contextlib.ExitStack() as undo:
        guests = []
        for i, name in enumerate(names):
            guest = Guest(name, folder, [cable[i].fileno() for cable in cables], memory_mb=1024)
            undo.callback(guest.end)
            guests.append(guest)
        for end in (end for cable in cables for end in cable):
            end.close()
        for i, guest in enumerate(guests, start=1):
            for j in range(2):
                guest.run("ip", "addr", "add", f"10.{j + 1}.0.{i}/24", "dev", f"eth{j}")
                guest.run("ip", "link", "set", f"eth{j}", "up")
            guest.soft_roce("rxe0", "eth0")
        yield guests
