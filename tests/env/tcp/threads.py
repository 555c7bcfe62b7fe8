"""Coordinators and ranks in threads of one process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from jobkit.env.gang import Report, Table
from jobkit.env.tcp.coordinator import Coordinator
from jobkit.env.tcp.participant import Participant
from jobkit.env.tcp.rendezvous import Rendezvous
from jobkit.env.tcp.tokens import HOME, Token

# Of this process alone: tests run beside each other.
PORTS = tuple(range(first := 11000 + os.getpid() % 1000 * 16, first + 16))
TOKEN = Token(HOME, b"k" * 32, "/home/token")


class Gang:
    """The ranks of one job: each in a thread, each with the outcome of its meeting.

    Attributes:
        said: Every line that was for the user.
        met: The table that a rank got, or the error it raised.
    """

    def __init__(self, size: int, make_report: Callable[..., Report], job: str = "job-1") -> None:
        self.size, self.job, self.make_report = size, job, make_report
        self.said: list[str] = []
        self.met: dict[int, Table | Exception] = {}
        self.threads: list[threading.Thread] = []
        self.coordinator = Coordinator(self.where(0), TOKEN, self.said.append)
        self.port = self.coordinator.port

    def where(self, rank: int, attempt: int = 1) -> Rendezvous:
        return Rendezvous(self.job, attempt, rank, self.size, rank == 0, ("127.0.0.1",), PORTS, "", True)

    def coordinate(self, timeout_s: float = 60.0, **differs: object) -> None:
        report = self.make_report(0, **differs)
        self._run(0, lambda: self.coordinator.gather(report, timeout_s))

    def join(
        self,
        rank: int,
        *,
        token: Token = TOKEN,
        attempt: int = 1,
        timeout_s: float = 60.0,
        ports: tuple[int, ...] = (),
        **differs: object,
    ) -> None:
        places = [("127.0.0.1", port) for port in ports or (self.port,)]
        search = Participant(self.where(rank, attempt), token, lambda: places, self.said.append)
        report = self.make_report(rank, **differs)
        self._run(rank, lambda: search.meet(report, timeout_s))

    def _run(self, rank: int, meet: Callable[[], Table]) -> None:
        def run() -> None:
            try:
                self.met[rank] = meet()
            except Exception as error:  # noqa: BLE001 - it is what the test looks at
                self.met[rank] = error

        thread = threading.Thread(target=run)
        thread.start()
        self.threads.append(thread)

    def wait(self) -> dict[int, Table | Exception]:
        for thread in self.threads:
            thread.join()
        return self.met
