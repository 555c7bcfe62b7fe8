"""Meet the other ranks: report to the agent of this host, and get everybody's report back."""

from __future__ import annotations

import _socket
import os

from jobkit.env.data import dataclass
from jobkit.env.json_ import dumps, loads
from jobkit.errors import LaunchError, complaint


@dataclass(frozen=True)
class Report:
    """What one rank tells the others.

    Attributes:
        rank: Its rank.
        local_rank: Its rank on its node, as its launcher says; None where it does not.
        host: Its host's name.
        node: Boot id and network namespace; equal for two ranks that share loopback and memory.
        addresses: IPv4 addresses at which other hosts reach it, best first; none where it has none.
        jobkit, mlx: Versions; "" where mlx is not installed.
        spec: Hash of the spec, "" without one.
        devices: CUDA devices visible to it, by names that tell those of its node apart.
        cuda_build: Whether the installed mlx is a CUDA build.
        ring: Ports held for MLX's ring, one for each connection of an address, in a row for every address.
        layer: Port held for the bundled backends; 0 without.
        torch, nccl, jaccl: Ports held for the others' meeting points; 0 but on rank 0.
    """

    rank: int
    local_rank: int | None
    host: str
    node: str
    addresses: tuple[str, ...]
    jobkit: str
    mlx: str
    spec: str
    devices: tuple[str, ...]
    cuda_build: bool
    ring: tuple[tuple[int, ...], ...]
    layer: int
    torch: int
    nccl: int
    jaccl: int


@dataclass(frozen=True)
class Table:
    """Everybody's report.

    Attributes:
        reports: In rank order.
        token: Secret of this attempt, in hexadecimal.
    """

    reports: tuple[Report, ...]
    token: str


def to_json(report: Report) -> dict[str, object]:
    """Return a report as JSON's own types."""
    return {name: getattr(report, name) for name in report.__match_args__}


def from_json(text: dict[str, object]) -> Report:
    """Return the report that `to_json` wrote.

    Raises:
        TypeError: Another version of jobkit wrote it.
    """
    return Report(**{name: _tuples(value) for name, value in text.items()})  # type: ignore[arg-type]


def _tuples(value: object) -> object:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def at(report: Report, address: str) -> Report:
    """Return a report with another address."""
    return from_json({**to_json(report), "addresses": [address]})


def differences(reports: tuple[Report, ...]) -> str:
    """Return what the ranks must have in common and have not, or ""."""
    for name, what in (("jobkit", "versions of jobkit"), ("mlx", "versions of mlx"), ("spec", "specs")):
        seen: dict[str, list[int]] = {}
        for report in reports:
            seen.setdefault(getattr(report, name), []).append(report.rank)
        if len(seen) > 1:
            parts = "; ".join(
                f"{value or 'none'} on {_ranks(ranks, reports)}" for value, ranks in seen.items()
            )
            return complaint(
                "gang", f"the ranks have different {what}: {parts}", hint="install the same everywhere"
            )
    return ""


def _ranks(ranks: list[int], reports: tuple[Report, ...]) -> str:
    hosts = dict.fromkeys(report.host for report in reports if report.rank in ranks)
    shown = ", ".join(map(str, ranks[:8])) + (", …" if len(ranks) > 8 else "")
    return f"rank{'s' if len(ranks) > 1 else ''} {shown} ({', '.join(list(hosts)[:8])})"


class AgentLink:
    """This rank's end of the agent's socket pair: messages of a 4-byte length and JSON."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)  # the agent sees the program's start as the end of this connection
        self._socket = _socket.socket(fileno=fd)

    def addresses(self) -> tuple[str, ...]:
        """Return this host's addresses for other hosts: none, since an agent's ranks are all on its host."""
        return ()

    def meet(self, report: Report) -> Table:
        """Report and wait for the table. The agent has the deadline.

        Raises:
            LaunchError: The agent ended the job, or is gone.
        """
        self.send({"report": to_json(report)})
        answer = self._receive()
        rows = answer["reports"]
        return Table(tuple(from_json(row) for row in rows), str(answer["token"]))

    def starting(self) -> None:
        """Tell the agent that the program is next: what follows is this connection's end, or a refusal."""
        self.send({"starting": True})

    def refuse(self, status: int, message: str) -> None:
        """Tell the agent that this rank cannot start, and why."""
        self.send({"status": status, "message": message})

    def send(self, message: dict[str, object]) -> None:
        """Send one message.

        Raises:
            LaunchError: The agent is gone.
        """
        data = dumps(message).encode()
        try:
            self._socket.sendall(len(data).to_bytes(4, "big") + data)
        except BrokenPipeError as error:
            raise LaunchError(complaint("gang", "the agent of this host is gone")) from error

    def close(self) -> None:
        """Leave."""
        self._socket.close()

    def _receive(self) -> dict[str, list[dict[str, object]]]:
        n_bytes = int.from_bytes(self._read(4), "big")
        answer: dict[str, list[dict[str, object]]] = loads(self._read(n_bytes).decode())
        return answer

    def _read(self, n_bytes: int) -> bytes:
        parts = b""
        while len(parts) < n_bytes:
            part = self._socket.recv(n_bytes - len(parts))
            if not part:
                raise LaunchError(complaint("gang", "the agent of this host is gone"))
            parts += part
        return parts
