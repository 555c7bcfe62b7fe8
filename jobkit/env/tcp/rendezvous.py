"""Where the ranks of a foreign launcher meet: found alike by all of them, without a word between them."""

from __future__ import annotations

import os

from jobkit.env import names
from jobkit.env.data import dataclass
from jobkit.env.placement import Found
from jobkit.errors import LaunchError, complaint

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

LOOPBACK = "127.0.0.1"
MASTER_ADDR = "MASTER_ADDR"
TRIED = 16  # ports of the sequence
_SEARCHED = 32  # hosts of an allocation that are looked at, where nobody says which has rank 0
_SLURM, _LSF = "SLURM_JOB_NODELIST", "LSB_MCPU_HOSTS"  # 'n[1-4]'; 'n1 4 n2 4'
# Below what kernels hand out by themselves (ip_local_port_range starts at 32768), above what services use.
_RANGE = (10000, 32767)


@dataclass(frozen=True)
class Rendezvous:
    """Where one rank meets the others.

    Attributes:
        job: The same for all ranks, another for every job that may run at the same time.
        attempt: From 1.
        rank, size: Of this process.
        coordinates: Whether this process is the coordinator.
        hosts: Names or addresses of the hosts that may be the coordinator's, likeliest first; none where it
            is written to `file`.
        ports: The coordinator takes the first that is free; who looks for it tries them in this order.
        file: Where the coordinator writes its addresses, "" where its host is known.
        one_host: Whether all ranks are on this host: then nothing is heard from outside.
    """

    job: str
    attempt: int
    rank: int
    size: int
    coordinates: bool
    hosts: tuple[str, ...]
    ports: tuple[int, ...]
    file: str
    one_host: bool


def rendezvous(
    environ: Mapping[str, str], found: Found, ports: tuple[int, int] | None, run_dir: str
) -> Rendezvous:
    """Return where the ranks of this job meet.

    The coordinator is the process with node 0 and local rank 0, or rank 0 where nodes are not known.

    Args:
        environ: May name the coordinator (JOBKIT_COORDINATOR=HOST or HOST:PORT; HOST,HOST for addresses of
            which not every rank reaches every one) or torch's (MASTER_ADDR).
        found: What the launcher says.
        ports: First and last port that may be used; None for the usual range.
        run_dir: A folder that all ranks see, "" without.

    Raises:
        LaunchError: No place can be found; names the line to add.
    """
    p = found.placement
    one_host = p.local_size == p.size or p.nodes == 1
    coordinates = p.rank == 0 if p.node is None else (p.node == 0 and p.local_rank == 0)
    given, port = _split(environ.get(names.COORDINATOR, ""))
    job = job_name(environ, found)
    host = LOOPBACK if one_host else given or found.first_host or environ.get(MASTER_ADDR, "")
    file = f"{run_dir}/coordinator-{found.attempt}.json" if run_dir and not host else ""
    hosts = tuple(host.split(",")) if host else () if file else _allocated(environ)
    if not job:
        raise LaunchError(_nameless())
    if not hosts and not file:
        raise LaunchError(_nowhere())
    sequence = (port,) if port else _sequence(f"{job}/{found.attempt}", ports or _RANGE)
    return Rendezvous(job, found.attempt, p.rank, p.size, coordinates, hosts, sequence, file, one_host)


def _allocated(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the first hosts of the allocation that an MPI launcher runs in: rank 0 is on one of them."""
    if _SLURM in environ:
        from jobkit.env.nodelist import hosts

        return hosts(environ[_SLURM], _SLURM)[:_SEARCHED]
    return tuple(dict.fromkeys(environ.get(_LSF, "").split()[::2]))[:_SEARCHED]


def _split(text: str) -> tuple[str, int]:
    """Return host and port of "HOST" or "HOST:PORT"; 0 without a port."""
    host, colon, port = text.rpartition(":")
    if not colon:
        return text, 0
    if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise LaunchError(
            complaint(
                names.COORDINATOR, "no address", got=text, expected="HOST or HOST:PORT (IPv4 or a name)"
            )
        )
    return host, int(port)


def job_name(environ: Mapping[str, str], found: Found) -> str:
    """Return the job's name, the same for all its ranks; "" where nothing is.

    The launcher's; else one given by the user; else the address at which torch or the gang meets.
    """
    address, port = environ.get(MASTER_ADDR, ""), environ.get("MASTER_PORT", "")
    torchs = f"{address}:{port}" if address and port else ""
    return found.job or environ.get(names.JOB, "") or torchs or environ.get(names.COORDINATOR, "")


def _sequence(text: str, ports: tuple[int, int]) -> tuple[int, ...]:
    """Return up to TRIED different ports, scattered by the text: two jobs rarely begin with the same."""
    from _blake2 import blake2b

    first, last = ports
    count = last - first + 1
    start = int.from_bytes(blake2b(os.fsencode(text), digest_size=8).digest(), "big") % count
    return tuple(first + (start + i) % count for i in range(min(TRIED, count)))


def _nameless() -> str:
    hint = f"set {names.JOB} to a name that no other job has, the same for all ranks"
    return complaint("gang", "the launcher gives its job no name that the ranks could meet under", hint=hint)


def _nowhere() -> str:
    hint = (
        f"export {names.COORDINATOR}=HOST, the host of rank 0, or {names.RUN_DIR}=FOLDER, a folder that all "
        "hosts share, before the launcher, and let it pass the variable on (Open MPI: mpirun -x NAME)"
    )
    return complaint(
        "gang", "the ranks are on several hosts, and the launcher does not say where rank 0 is", hint=hint
    )
