"""Hold this rank's ports, meet the others, and translate what the table says."""

from __future__ import annotations

import os

from jobkit import __version__
from jobkit.env import ports, translate
from jobkit.env.complete import complete
from jobkit.env.data import dataclass
from jobkit.env.gang import AgentLink, Report, Table
from jobkit.env.gpu import device_nodes, identities, visible_devices
from jobkit.env.identity import mlx_version, node_identity
from jobkit.env.placement import Placement
from jobkit.env.ports import EVERY_ADDRESS, REUSEADDR, REUSEPORT, Reservation
from jobkit.env.resolve import resolve
from jobkit.env.settings import Settings, settings
from jobkit.env.translate import Identity, Resolved, Translation

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobkit.env.tcp.link import TcpLink


@dataclass(frozen=True)
class Held:
    """The ports that one rank holds.

    Attributes:
        ring: One for each connection of an address.
        layer, torch, nccl, jaccl: One each, or None.
    """

    ring: tuple[Reservation, ...]
    layer: Reservation | None
    torch: Reservation | None
    nccl: Reservation | None
    jaccl: Reservation | None


NOTHING_HELD = Held((), None, None, None, None)


def meet(
    environ: Mapping[str, str],
    placement: Placement,
    identity: Identity,
    wanted: tuple[str, ...],
    link: AgentLink | TcpLink,
    launcher: str | None,
) -> tuple[Placement, Translation]:
    """Meet the other ranks; return this one's place without unknowns, and what its program finds.

    Raises:
        LaunchError: The ranks do not come together, or the backend cannot run on them.
    """
    chosen = settings(environ)
    held = hold(placement, chosen, has_gpu=bool(visible_devices(environ, device_nodes())))
    table = link.meet(report(environ, placement, chosen, held, link.addresses()))
    resolved = resolve(environ, placement.rank, chosen, wanted, table, launcher)
    _release_unused(held, resolved, table)
    placement = complete(placement, table)
    return placement, translate.together(placement, identity, table, resolved)


def hold(placement: Placement, chosen: Settings, *, has_gpu: bool) -> Held:
    """Reserve every port that some backend may need; what the one chosen does not need is given back.

    On every address: which one the others use is known only when all have reported.

    Raises:
        LaunchError: There are not enough.
    """
    first = placement.rank == 0
    nccl = _only(chosen.nccl_port) or chosen.ports
    return Held(
        tuple(_hold(REUSEPORT, chosen.ports) for _ in range(chosen.connections_per_ip)),
        _hold(REUSEPORT, chosen.ports),
        _hold(REUSEADDR, chosen.ports) if first else None,
        _hold(REUSEADDR, nccl) if first and has_gpu else None,
        _hold(REUSEPORT, chosen.ports) if first else None,
    )


def _hold(listener: str, range_: tuple[int, int] | None) -> Reservation:
    return ports.reserve(EVERY_ADDRESS, listener, range_)


def _only(port: int | None) -> tuple[int, int] | None:
    return None if port is None else (port, port)


def report(
    environ: Mapping[str, str],
    placement: Placement,
    chosen: Settings,
    held: Held,
    addresses: tuple[str, ...] = (),
) -> Report:
    """Return what this rank tells the others; `addresses` are those that other hosts reach."""
    version, cuda_build = mlx_version()
    return Report(
        rank=placement.rank,
        local_rank=placement.local_rank,
        host=os.uname().nodename,
        node=node_identity(),
        addresses=addresses,
        jobkit=__version__,
        mlx=version,
        spec=chosen.spec_hash,
        devices=identities(environ, visible_devices(environ, device_nodes())),
        cuda_build=cuda_build,
        ring=(tuple(r.port for r in held.ring),),
        layer=_port(held.layer),
        torch=_port(held.torch),
        nccl=_port(held.nccl),
        jaccl=_port(held.jaccl),
    )


def _port(reservation: Reservation | None) -> int:
    return 0 if reservation is None else reservation.port


def _release_unused(held: Held, chosen: Resolved, table: Table) -> None:
    unused: list[Reservation | None] = []
    if not translate.needs_ring(chosen, table):
        unused += held.ring
    unused += [] if "nccl" in chosen.backends else [held.nccl]
    unused += [held.jaccl] if chosen.rdma is None else []
    unused += [] if chosen.store else [held.torch]
    for reservation in unused:
        if reservation is not None:
            ports.release(reservation)


def check_alone(
    environ: Mapping[str, str],
    placement: Placement,
    chosen: Settings,
    wanted: tuple[str, ...],
    launcher: str | None,
) -> str:
    """Return the devices of the only rank, "" to leave them as they are.

    Refuses a backend that was named and cannot run here, though a job of one rank would not use it.

    Raises:
        LaunchError: It cannot.
    """
    table = Table((report(environ, placement, chosen, NOTHING_HELD),), "")
    return resolve(environ, 0, chosen, wanted, table, launcher).devices
