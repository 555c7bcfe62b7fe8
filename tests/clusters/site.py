"""A laptop, and hosts with networks and an sshd of their own that it can log in to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clusters import sshd
from clusters.hosts import Hosts

Launch = Callable[..., "subprocess.CompletedProcess[str]"]

LAPTOP, ONE, TWO = "laptop", "one", "two"
# Nothing of it may be left: the ranks are the only ones to sleep so long.
SLEEP = "exec sleep 98765"


class Site:
    """A laptop, and hosts that it can log in to.

    Attributes:
        hosts: All of them.
        servers: The sshd of each but the laptop.
        home: The laptop's HOME.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.hosts = Hosts((LAPTOP, ONE, TWO), folder, "10.78.0")
        try:
            self.servers = {name: self._server(name) for name in (ONE, TWO)}
            self._settings()
        except BaseException:
            self.hosts.end()
            raise

    def _server(self, name: str) -> sshd.Sshd:
        folder = self.folder / name
        folder.mkdir()
        path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        return sshd.Sshd(self.hosts, name, folder, PATH=path, JOBKIT_HOME=str(folder / "jobkit"))

    def _settings(self) -> None:
        (self.home / ".ssh").mkdir(parents=True)
        lines = [
            f"Host {name}\n  Port {sshd.PORT}\n  User user-bash\n  IdentityFile {server.folder}/key\n"
            for name, server in self.servers.items()
        ]
        known = f"Host *\n  UserKnownHostsFile {self.home}/known_hosts\n  IdentitiesOnly yes\n"
        (self.home / ".ssh" / "config").write_text("".join((*lines, known)))
        self.trust(*self.servers)

    def trust(self, *names: str) -> None:
        """Let the laptop know the keys of these hosts."""
        (self.home / "known_hosts").write_text(
            "".join(self.servers[name].known_hosts.read_text() for name in names)
        )

    def launch(self, *words: str, cwd: Path, **popen: Any) -> subprocess.Popen[str]:
        """Start `jobkit launch` on the laptop."""
        environ = self.environ(**popen.pop("environ", {}))
        command = self.hosts.command(LAPTOP, "jobkit", "launch", *words, cwd=str(cwd))
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(command, env=environ, text=True, **{**pipes, **popen})

    def environ(self, **variables: str) -> dict[str, str]:
        """Return the environment of who is at the laptop."""
        return {**self.servers[ONE].environ(HOME=str(self.home), OF_LAPTOP="1"), **variables}

    def left(self) -> list[str]:
        """Return what is left of jobs on any host: processes, and files."""
        processes = [
            f"{host}: {line}"
            for host in self.hosts.addresses
            for line in self.hosts.run(
                host, "pgrep", "-fa", r"sleep 98765|jobkit\.(agent|env)", check=False
            ).stdout.splitlines()
        ]
        folders = [server.folder / "jobkit" for server in self.servers.values()]
        return [*processes, *(str(path) for folder in folders for path in folder.glob("*"))]
