"""A real sshd on a host, with users of several login shells, and the keys and settings of who logs in."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from clusters.hosts import Hosts

NEEDED = ("sshd", "ssh-keygen")
# All are root, whose name alone would always give the same shell.
SHELLS = {"bash": "/bin/bash", "dash": "/bin/dash", "tcsh": "/usr/bin/tcsh", "fish": "/usr/bin/fish"}
PORT = 2222
_DEADLINE_S = 20
_CONF = """
Port {port}
ListenAddress 0.0.0.0
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
Banner {folder}/banner
MaxStartups 10:30:100
{variables}
"""
_SSH_CONFIG = """
Host cluster
  HostName {host}
  Port {port}
  User {user}
Host cluster-*
  HostName {host}
  Port {port}
Host behind
  HostName {host}
  Port {port}
  User {user}
  ProxyJump cluster
Host *
  IdentityFile {folder}/key
  IdentitiesOnly yes
  UserKnownHostsFile {home}/known_hosts
  GlobalKnownHostsFile none
"""


def why_not() -> str:
    """Return why there can be no sshd here, "" where there can."""
    missing = [program for program in NEEDED if _path(program) is None]
    return f"sshd needs {', '.join(missing)} (Debian: openssh-server)" if missing else ""


def _path(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")


class Sshd:
    """sshd on one host of several.

    Attributes:
        home: The HOME of who logs in, with ssh's settings in it.
        known_hosts: The file with the host's key.
    """

    def __init__(self, hosts: Hosts, host: str, folder: Path, **variables: str) -> None:
        """Start it; `variables` are what everybody finds who logs in."""
        self.hosts, self.host, self.folder = hosts, host, folder
        self.home = folder / "home"
        self.known_hosts = self.home / "known_hosts"
        (self.home / ".ssh").mkdir(parents=True)
        for name in ("host_key", "key"):
            self._keygen(folder / name)
        (folder / "banner").write_text("Authorised use only.\n" * 20)
        sets = "SetEnv " + " ".join(f'"{name}={value}"' for name, value in variables.items())
        (folder / "sshd_config").write_text(_CONF.format(folder=folder, port=PORT, variables=sets))
        settings = _SSH_CONFIG.format(host=host, port=PORT, user=_user("bash"), folder=folder, home=self.home)
        (self.home / ".ssh" / "config").write_text(settings)
        self.trust("host_key")
        self._add_users()
        self.start()

    def _keygen(self, path: Path) -> None:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)

    def trust(self, key: str | None) -> None:
        """Let known_hosts hold this key for the host, or none."""
        lines = "" if key is None else f"[{self.host}]:{PORT} {(self.folder / f'{key}.pub').read_text()}"
        self.known_hosts.write_text(lines)

    def _add_users(self) -> None:
        """Give each login shell a user, on this host alone; each prints something when it starts."""
        users = self.folder / "users"
        users.mkdir()
        lines = Path("/etc/passwd").read_text()
        for name, shell in SHELLS.items():
            (users / name).mkdir()
            lines += f"{_user(name)}:x:0:0::{users / name}:{shell}\n"
        (users / "bash" / ".bashrc").write_text("echo Welcome; echo to the cluster >&2; printf 'no end'\n")
        (users / "tcsh" / ".cshrc").write_text("echo Welcome\n")
        (self.folder / "passwd").write_text(lines)
        self.hosts.run(self.host, "mount", "--bind", str(self.folder / "passwd"), "/etc/passwd")
        self.hosts.run(self.host, "mkdir", "-p", "/run/sshd")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        program = _path("sshd")
        assert program is not None, "asked before"
        command = (program, "-D", "-e", "-f", str(self.folder / "sshd_config"))
        self.hosts.start(self.host, *command, log=self.folder / "sshd.log")
        until = time.monotonic() + _DEADLINE_S
        connects = ("bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{PORT}")
        while self.hosts.run(self.host, *connects, check=False).returncode:
            assert time.monotonic() < until, (self.folder / "sshd.log").read_text()
            time.sleep(0.05)

    def cut(self) -> None:
        """End every connection."""
        self.hosts.run(self.host, "sh", "-c", _CUT)

    def environ(self, **variables: str) -> Mapping[str, str]:
        """Return the environment of who logs in."""
        without = {name: value for name, value in os.environ.items() if name != "SSH_AUTH_SOCK"}
        return {**without, "HOME": str(self.home), **variables}


_CUT = "ps -eo pid=,args= | awk '/^ *[0-9]+ sshd: .*@notty/ {print $1}' | xargs -r kill -9"


def _user(shell: str) -> str:
    return f"user-{shell}"
