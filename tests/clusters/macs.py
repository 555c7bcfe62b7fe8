"""Hosts that answer like Macs, cabled as a recorded layout says, and a laptop that can log in to them.

A cable is a pair of virtual interfaces, so that what is set up carries packets.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from clusters import sshd
from clusters.hosts import Hosts

from jobkit.hosts import cables, recording

LAPTOP = "laptop"
LAYOUTS = Path(__file__).resolve().parent.parent / "data" / "macs"
TOOLS = (
    "uname",
    "system_profiler",
    "networksetup",
    "ipconfig",
    "ifconfig",
    "route",
    "netstat",
    "ibv_devices",
    "sudo",
)


class Macs:
    """Macs of a layout.

    Attributes:
        names: Theirs.
        hosts: They and the laptop.
        servers: The sshd of each Mac.
        folder: Of all files; FOLDER/NAME is a Mac's own.
        recordings: A copy of the layout, which a test may change.
    """

    def __init__(self, layout: str, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.recordings = Path(shutil.copytree(LAYOUTS / layout, folder / "recordings"))
        topology = cables.connect(recording.read(str(self.recordings)))
        self.names = tuple(host.name for host in topology.hosts)
        # The addresses of their Ethernet are those of the recordings.
        self.hosts = Hosts((*self.names, LAPTOP), folder, "123.123.123")
        try:
            for cable in topology.cables:
                self._cable(*((self.names[end.host], end.interface) for end in cable.ends))
            self.servers = {name: self._server(name) for name in self.names}
            self._settings()
        except BaseException:
            self.hosts.end()
            raise

    def _cable(self, near: tuple[str, str], far: tuple[str, str]) -> None:
        one, other = (str(self.hosts.process_id(name)) for name, _ in (near, far))
        peer = ("peer", "name", far[1], "netns", other)
        subprocess.run(["ip", "link", "add", near[1], "netns", one, "type", "veth", *peer], check=True)
        for name, interface in (near, far):
            self.hosts.run(name, "ip", "link", "set", interface, "up")

    def _server(self, name: str) -> sshd.Sshd:
        folder = self.folder / name
        tools = folder / "tools"
        tools.mkdir(parents=True)
        program = f"#!{sys.executable} -IS\n" + Path(__file__).with_name("mac.py").read_text()
        (tools / TOOLS[0]).write_text(program)
        (tools / TOOLS[0]).chmod(0o755)
        for tool in TOOLS[1:]:
            (tools / tool).symlink_to(TOOLS[0])
        self.hosts.run(name, "ip", "link", "add", "bridge0", "type", "bridge")
        self.hosts.run(name, "ip", "link", "set", "bridge0", "up")
        path = f"{tools}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        recorded = str(self.recordings / name)
        server = sshd.Sshd(
            self.hosts, name, folder, PATH=path, MAC_FOLDER=str(folder), MAC_RECORDING=recorded,
            JOBKIT_HOME=str(folder / "jobkit"),
        )  # fmt: skip
        # mlx.launch takes what a login shell prints for the name of a file.
        (folder / "users" / "bash" / ".bashrc").unlink()
        return server

    def _settings(self) -> None:
        (self.home / ".ssh").mkdir(parents=True)
        hosts = [
            f"Host {name}\n  Port {sshd.PORT}\n  User user-bash\n  IdentityFile {server.folder}/key\n"
            for name, server in self.servers.items()
        ]
        known = self.home / "known_hosts"
        known.write_text("".join(server.known_hosts.read_text() for server in self.servers.values()))
        rest = f"Host *\n  UserKnownHostsFile {known}\n  IdentitiesOnly yes\n"
        (self.home / ".ssh" / "config").write_text("".join((*hosts, rest)))
        # OpenSSH looks in the folder of the user, whatever HOME says.
        (self.home / "ssh").write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {self.home}/.ssh/config "$@"\n')
        (self.home / "ssh").chmod(0o755)

    def run(self, *words: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the laptop."""
        without = self.servers[self.names[0]].environ(HOME=str(self.home))
        path = f"{self.home}:{without['PATH']}"
        known: dict[str, Any] = {**without, "PATH": path, **environ}
        return self.hosts.run(LAPTOP, *words, cwd=str(cwd), environ=known, check=False)

    def log(self, name: str) -> list[str]:
        """Return what a Mac was asked to change."""
        path = self.folder / name / "log"
        return path.read_text().splitlines() if path.exists() else []

    def break_at(self, name: str, number: int, kind: str) -> None:
        """Let a change of a Mac fail, cut it off, or do nothing."""
        (self.folder / name / "break").write_text(f"{len(self.log(name)) + number} {kind}")

    def state(self) -> dict[str, str]:
        """Return the interfaces and routes of every Mac."""
        show = "ip -brief -4 address; ip link show bridge0 | head -n 1; ip route"
        return {name: self.hosts.run(name, "sh", "-c", show).stdout for name in self.names}

    def reset(self) -> None:
        """Bring every Mac back to what it was."""
        for name in self.names:
            for file in ("log", "break", "no-sudo"):
                (self.folder / name / file).unlink(missing_ok=True)
            self.hosts.run(name, "sh", "-c", _RESET)


_RESET = """
ip -brief link | sed -n 's/^\\(en[0-9]*\\)@.*/\\1/p' |
  while read -r name; do ip -4 address flush dev "$name"; done
ip link set bridge0 up
"""
