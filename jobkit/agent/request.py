"""What an agent is asked to do, whole and at once, over its standard input."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """One attempt of one job on one host.

    Attributes:
        job: The job's id, ID/POINT for a point of a sweep; JOBKIT_JOB of every process of it.
        name: The job's name, for messages.
        attempt: Counted from 1.
        run_dir: Absolute folder of records; None makes a private temporary one, removed at the end.
        output: "files" writes `attempt-K/rank-R.out` and `.err`; "pipe" sends events.
        first_rank: The lowest rank on this host.
        ranks: This host's, where they do not follow each other; () for those from `first_rank` on.
        local_size: Ranks on this host.
        size: Ranks of the job.
        node: This host among the job's.
        nodes: Hosts of the job.
        command: The program and its arguments.
        backend: One or several of `jobkit.env.backends.NAMES`.
        connections_per_ip: Connections of MLX's ring per address.
        python: Absolute path of the interpreter that runs the shim; its folder comes first on the ranks'
        PATH.
        workdir: Absolute folder in which the program starts.
        environ: The complete environment that setup starts from. Crosses only the pipe, never argv or disk.
        setup: Lines for bash, run once, before any rank.
        overlay: Laid over what setup left.
        stdin: "none", "all" or a rank's number.
        ports: First and last port that may be reserved; None for any.
        subnet: Addresses that other hosts are given; None for any.
        terminal: Columns and lines of the terminal that shows the output; None where there is none.
        grace_s: Seconds between TERM and KILL.
        nccl_port: The one port for NCCL's bootstrap; None for any.
        spec_hash: Hash of the spec, "" without one; ranks with different ones do not start.
        gpus_per_rank: CUDA devices per rank; 0 leaves what is visible as it is, but under nccl.
        share_gpus: Whether ranks may share a device.
        jaccl_hostfile: Absolute path of the hostfile with JACCL's matrix; None without.
        token: Secret in hexadecimal by which the ranks of hosts that share no folder know each other.
        addresses: By local rank, the IPv4 addresses at which the others are to reach it; () to find them out.
        jaccl_rows: Text of a hostfile with JACCL's matrix, for hosts that do not see `jaccl_hostfile`.
        suspend_s: Seconds that a launcher may be stopped (^Z), with the ranks, before it counts as gone.
        package: Folder of a jobkit that was brought here for this job; None for the one that `python` has.
        silence_s: Seconds without a word after which the launcher counts as gone; None for a pipe, whose end
        tells.
    """

    job: str
    name: str
    attempt: int
    run_dir: str | None
    output: str
    first_rank: int
    local_size: int
    size: int
    node: int
    nodes: int
    command: tuple[str, ...]
    backend: tuple[str, ...]
    connections_per_ip: int
    python: str
    workdir: str
    environ: dict[str, str] = field(repr=False)
    setup: tuple[str, ...]
    overlay: dict[str, str] = field(repr=False)
    stdin: str
    ports: tuple[int, int] | None
    subnet: str | None
    terminal: tuple[int, int] | None
    grace_s: float = 5.0
    nccl_port: int | None = None
    spec_hash: str = ""
    gpus_per_rank: int = 0
    share_gpus: bool = False
    jaccl_hostfile: str | None = None
    token: str | None = field(default=None, repr=False)
    package: str | None = None
    silence_s: float | None = None
    ranks: tuple[int, ...] = ()
    addresses: tuple[tuple[str, ...], ...] = ()
    jaccl_rows: str | None = field(default=None, repr=False)
    suspend_s: float = 600.0

    @property
    def numbers(self) -> tuple[int, ...]:
        """The ranks of this host, by local rank."""
        return self.ranks or tuple(range(self.first_rank, self.first_rank + self.local_size))


def encode(request: Request) -> bytes:
    """Return the request as it crosses the pipe; bytes that are no UTF-8 survive in surrogates."""
    return json.dumps(dataclasses.asdict(request)).encode()


def decode(data: bytes) -> Request:
    """Return the request that `encode` wrote."""
    return Request(**{name: _tuples(value) for name, value in json.loads(data).items()})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
