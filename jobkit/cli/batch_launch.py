"""Launch on all hosts of a batch job: one process per host through the scheduler's own starter."""

from __future__ import annotations

import dataclasses
import json
import secrets
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType

from jobkit.agent.request import Request
from jobkit.agent.verdict import first_failure
from jobkit.cli import talk
from jobkit.cli.batch import Allocation, check
from jobkit.env import names
from jobkit.env.files import write_private
from jobkit.env.home import home
from jobkit.env.record import RankExit
from jobkit.errors import Exit

_TURN_S = 0.2
_GRACE_S = 15.0  # for the hosts to end their ranks, before the starters are killed


def launch(asked: Request, job: Allocation, environ: Mapping[str, str]) -> int:
    """Run a request's ranks on every host of a batch job; return the status of the first to fail.

    Args:
        asked: For one host; its ranks are started on each.
        job: The hosts.
        environ: Of the batch shell.

    Raises:
        LaunchError: The starter is missing, or the run folder cannot be written.
    """
    check(job)
    name = f"{job.job}-{secrets.token_hex(3)}"
    run_dir = environ.get(names.RUN_DIR) or f"{home(environ)}/jobs/{name}"
    size = len(job.hosts) * asked.local_size
    meeting = {names.COORDINATOR: job.hosts[0], names.SHARED_DIR: run_dir}
    overlay = {**asked.overlay, **meeting}
    whole = replace(
        asked, job=name, run_dir=run_dir, size=size, nodes=len(job.hosts), overlay=overlay, stdin="none"
    )
    return Launch(whole, job, Path(run_dir)).run()


class Launch:
    """One launch: its starters, and the leases of its hosts."""

    def __init__(self, asked: Request, job: Allocation, run_dir: Path) -> None:
        self._asked, self._job, self._run_dir = asked, job, run_dir
        self._secret = secrets.token_hex(16)
        self._loop = selectors.DefaultSelector()
        self._leases: dict[socket.socket, tuple[int, bytes]] = {}
        self._statuses: dict[int, int] = {}
        self._signal = 0
        self._end_at: float | None = None

    def run(self) -> int:
        """Start, stay until every host has ended, and return the exit status."""
        plan_file = self._run_dir / f"launch-{self._secret[:6]}.json"
        before = {number: signal.signal(number, self._note) for number in (2, 15, 1)}
        with socket.create_server(("", 0)) as server:
            self._loop.register(server, selectors.EVENT_READ)
            launcher = (self._job.hosts[0], server.getsockname()[1], self._secret)
            plan = {"launcher": launcher, "request": dataclasses.asdict(self._asked)}
            write_private(str(plan_file), json.dumps(plan))
            try:
                starters = [self._start(node, plan_file) for node in range(len(self._job.hosts))]
                self._stay(server, starters)
            finally:
                plan_file.unlink(missing_ok=True)
                (self._run_dir / "token").unlink(missing_ok=True)
                for number, handler in before.items():
                    signal.signal(number, handler)
        return self._status(starters)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._signal = self._signal or number

    def _start(self, node: int, plan_file: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "jobkit.cli.batch_node", str(plan_file), str(node)]
        words = [*self._job.starters[node], *command]
        # In a session of its own, so that ^C comes from here alone, after the hosts were told.
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)

    def _stay(self, server: socket.socket, starters: list[subprocess.Popen[bytes]]) -> None:
        while any(starter.poll() is None for starter in starters):
            for key, _ in self._loop.select(_TURN_S):
                if key.fileobj is server:
                    self._admit(server.accept()[0])
                elif isinstance(key.fileobj, socket.socket):
                    self._hear(key.fileobj)
            failed = any(starter.poll() for starter in starters) or any(self._statuses.values())
            if (failed or self._signal) and self._end_at is None:
                self._end_at = time.monotonic() + self._asked.grace_s + _GRACE_S
                self._end()
            if self._end_at is not None and time.monotonic() >= self._end_at:
                for starter in starters:
                    starter.kill()
        for lease in list(self._leases):
            self._hear(lease)

    def _admit(self, lease: socket.socket) -> None:
        if self._end_at is not None:
            lease.close()
            return
        lease.setblocking(False)
        self._leases[lease] = (-1, b"")
        self._loop.register(lease, selectors.EVENT_READ)

    def _hear(self, lease: socket.socket) -> None:
        """Take who a host is and how it ended; a stranger is let go, and so is a host that has ended."""
        node, text = self._leases[lease]
        try:
            data = lease.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, text = (text + data).split(b"\n")
        for line in lines:
            words = line.decode(errors="replace").split()
            if node < 0 and len(words) == 2 and secrets.compare_digest(words[0], self._secret):
                node = int(words[1])
            elif node >= 0:
                self._statuses[node] = int(line)
        self._leases[lease] = (node, text)
        if not data or (lines and node < 0) or len(text) > 256 or (node >= 0 and self._end_at is not None):
            self._forget(lease)

    def _forget(self, lease: socket.socket) -> None:
        self._loop.unregister(lease)
        del self._leases[lease]
        lease.close()

    def _end(self) -> None:
        """Tell every host to end its ranks: closing one half leaves the other for what it still says."""
        for lease in list(self._leases):
            try:
                lease.shutdown(socket.SHUT_WR)
            except OSError:
                self._forget(lease)

    def _status(self, starters: list[subprocess.Popen[bytes]]) -> int:
        if self._signal:
            return int(Exit.SIGNAL + self._signal)
        first = first_failure(exits(self._run_dir / f"attempt-{self._asked.attempt}"))
        if first is not None:
            return first.status
        known = [self._statuses.get(node, starter.returncode) for node, starter in enumerate(starters)]
        missing = [self._job.hosts[node] for node in range(len(starters)) if node not in self._statuses]
        if missing:
            talk.error(f"{', '.join(missing)}: {self._job.starters[0][0]} ended before the ranks did")
        return next((abs(s) for s in known if s), int(Exit.NOT_STARTED) if missing else 0)


def exits(folder: Path) -> list[RankExit]:
    """Return the ranks' exits in the order of their times, which count across hosts."""
    found = []
    for path in folder.glob("rank-*.exit.json"):
        known = json.loads(path.read_text())
        known.pop("schema")
        found.append(RankExit(**known))
    found.sort(key=lambda known: known.ended)
    return [replace(known, order=order) for order, known in enumerate(found)]
