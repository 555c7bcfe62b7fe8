"""The commands that start the ranks of one contender, and the files that tell them where they meet."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobkit import __version__
from jobkit.bench import mpiexec
from jobkit.bench.contenders import JACCL, Contender
from jobkit.bench.places import Place
from jobkit.env import layer, names, ports
from jobkit.env.files import write_private
from jobkit.env.gang import Report, Table
from jobkit.env.mlx import ring
from jobkit.env.scrub import scrub
from jobkit.errors import LaunchError, complaint
from jobkit.native import jaccl

_PEERS = str(Path(__file__).parent / "peers")
# Outside the range from which the kernel takes ports for connections: what is free now, stays so.
_PORTS = (20000, 29999)


@dataclass(frozen=True)
class Start:
    """One process to start.

    Attributes:
        command: Its words.
        environ: Its whole environment.
    """

    command: tuple[str, ...]
    environ: dict[str, str]


@dataclass(frozen=True)
class Held:
    """Ports that stay reserved while the ranks live.

    Attributes:
        reservations: Two for each rank: one for whoever listens with SO_REUSEPORT, one with SO_REUSEADDR.
    """

    reservations: tuple[tuple[ports.Reservation, ports.Reservation], ...]

    def release(self) -> None:
        """Give them back."""
        for pair in self.reservations:
            for one in pair:
                ports.release(one)


def hold(size: int) -> Held:
    """Reserve ports for `size` ranks.

    Raises:
        LaunchError: There are not enough.
    """
    kinds = (ports.REUSEPORT, ports.REUSEADDR)
    pairs = (tuple(ports.reserve(ports.EVERY_ADDRESS, kind, _PORTS) for kind in kinds) for _ in range(size))
    return Held(tuple((first, second) for first, second in pairs))


def starts(
    contender: Contender,
    size: int,
    folder: Path,
    held: Held,
    places: Sequence[Place],
    environ: Mapping[str, str],
) -> list[Start]:
    """Return what to start: a process a rank, or MPI's launcher.

    Args:
        contender: Whose ranks they are.
        size: How many.
        folder: Where the driver listens; the files of the meeting are written there.
        held: Ports for them.
        places: One network for all, or two for a half of the ranks each.
        environ: What they inherit.
    """
    program = (contender.python, _PEERS, contender.library, str(folder))
    base = {**scrub(environ), **_quiet(), **contender.environ}
    where = [places[rank * len(places) // size] for rank in range(size)]
    if contender.mpiexec:
        return [_by_mpiexec(contender, program, base, where, folder)]
    met = _meeting(size, folder, held, where)
    if contender.backend == JACCL:
        met |= _cables(size, folder, base)
    each = (_rank(rank, size, where, held) for rank in range(size))
    return [
        Start((*place.enter, *program), {**base, **met, **own})
        for place, own in zip(where, each, strict=True)
    ]


def _quiet() -> dict[str, str]:
    """One thread a rank for arithmetic: more would take the processors of the other ranks."""
    return {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def _by_mpiexec(
    contender: Contender, program: tuple[str, ...], base: dict[str, str], where: list[Place], folder: Path
) -> Start:
    agent = folder / mpiexec.AGENT
    agent.write_text(mpiexec.agent_script(where[-1]))
    agent.chmod(0o700)
    variables = mpiexec.environ(contender.mpi, where[0], tcp=contender.tcp)
    words = mpiexec.command(contender.mpiexec, contender.mpi, where, program, agent, tcp=contender.tcp)
    return Start(words, {**base, **variables})


def _meeting(size: int, folder: Path, held: Held, where: list[Place]) -> dict[str, str]:
    """Write the files that say where the ranks meet; returns the variables that name them."""
    table = Table(tuple(_report(rank, where[rank], held) for rank in range(size)), secrets.token_hex(32))
    addresses = tuple((place.address,) for place in where)
    files = {
        folder / "gang.json": layer.gang_file(table, addresses, folder.name, 1),
        folder / "token": table.token,
        folder / "hostfile.json": ring.hostfile(table, addresses),
    }
    for path, text in files.items():
        write_private(str(path), text)
    gang, token, hostfile = map(str, files)
    met = {**layer.variables(gang, token, ""), **ring.variables(hostfile), names.BACKEND: "ring"}
    return {name: value for name, value in met.items() if value}


def _cables(size: int, folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Write the matrix of devices: one device of this host leads to everybody.

    Raises:
        LaunchError: There is none.
    """
    found, problem = jaccl.devices(environ)
    if problem:
        raise LaunchError(complaint("--backend jaccl", problem, hint="see `jobkit doctor`"))
    path = folder / "devices.json"
    matrix = [[None if i == j else found[0] for j in range(size)] for i in range(size)]
    write_private(str(path), json.dumps(matrix))
    return {jaccl.DEVICES[1]: str(path), names.BACKEND: JACCL}


def _report(rank: int, place: Place, held: Held) -> Report:
    port = held.reservations[rank][0].port
    address, ring_ports = (place.address,), ((port,),)
    return Report(
        rank, rank, place.host, place.node, address, __version__, "", "", (), False, ring_ports, port, 0, 0, 0
    )


def _rank(rank: int, size: int, where: list[Place], held: Held) -> dict[str, str]:
    """Return what tells one process which rank it is, for whichever library asks."""
    number, count = str(rank), str(size)
    address, port = where[0].address, str(held.reservations[0][1].port)
    placement = dict(zip(names.PLACEMENT, (number, count, number, count, "0", "1"), strict=True))
    torch = dict(zip(names.TORCH, (number, count, number, count, address, port), strict=True))
    exchange = {
        f"JOBKIT_BENCH_{name}": v for name, v in (("RANK", number), ("ADDRESS", address), ("PORT", port))
    }
    own = {"MLX_RANK": number, "MLX_WORLD_SIZE": count, "GLOO_SOCKET_IFNAME": where[rank].interface}
    return {**placement, **torch, **exchange, **own}
