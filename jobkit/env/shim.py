"""The shim: from the environment that a launcher left to the program, in order."""

from __future__ import annotations

import os
from collections.abc import Mapping

from jobkit import __version__
from jobkit.env import backends, names, ports, translate
from jobkit.env.addresses import addresses
from jobkit.env.data import dataclass
from jobkit.env.detect import Detection
from jobkit.env.files import write_private
from jobkit.env.gang import AgentLink, Report, Table
from jobkit.env.gpu import device_nodes, devices_of, visible_devices
from jobkit.env.identity import mlx_version, node_identity
from jobkit.env.placement import Placement
from jobkit.env.ports import REUSEADDR, REUSEPORT, Reservation
from jobkit.env.settings import Settings, settings
from jobkit.env.translate import Identity, Translation
from jobkit.errors import LaunchError, complaint

_EVERY_ADDRESS = "0.0.0.0"  # listeners of torch, NCCL and JACCL bind every address


@dataclass(frozen=True)
class Held:
    """The ports that one rank holds.

    Attributes:
        ring: A row per address.
        layer, torch, nccl, jaccl: One each, or None.
    """

    ring: tuple[tuple[Reservation, ...], ...]
    layer: Reservation | None
    torch: Reservation | None
    nccl: Reservation | None
    jaccl: Reservation | None


NOTHING_HELD = Held((), None, None, None, None)


def prepare(
    environ: Mapping[str, str], found: Detection, wanted: tuple[str, ...], link: AgentLink | None
) -> dict[str, str]:
    """Return the program's environment, with its ports held and its files written.

    Raises:
        LaunchError: This process is no rank, or its group cannot be formed.
    """
    placement = found.placement
    if placement is None:
        raise LaunchError(complaint("jobkit exec", found.reason))
    identity = identify(environ)
    translation = _translation(environ, found, placement, identity, wanted, link)
    for path, text in translation.files:
        write_private(path, text)
    return translate.program_environ(dict(environ), translation)


def identify(environ: Mapping[str, str]) -> Identity:
    """Return job, attempt and run folder; a program started by hand is a job of its own."""
    job = environ.get(names.JOB) or f"{os.uname().nodename}.{os.getpid()}"
    attempt = environ.get(names.ATTEMPT, "")
    return Identity(job, int(attempt) if attempt.isdigit() else 1, environ.get(names.RUN_DIR, ""))


def _translation(
    environ: Mapping[str, str],
    found: Detection,
    placement: Placement,
    identity: Identity,
    wanted: tuple[str, ...],
    link: AgentLink | None,
) -> Translation:
    if wanted == ("none",):
        return Translation(translate.placement_variables(placement, identity))
    if placement.size == 1:
        return _alone(environ, found, placement, identity, wanted)
    if link is None:
        return _as_found(environ, found, placement, identity)
    return _gang(environ, placement, identity, wanted, link)


def _alone(
    environ: Mapping[str, str],
    found: Detection,
    placement: Placement,
    identity: Identity,
    wanted: tuple[str, ...],
) -> Translation:
    if found.launcher == "env":
        return Translation(translate.placement_variables(placement, identity))
    chosen = settings(environ)
    if wanted != ("any",):
        backends.resolve(wanted, (report(environ, placement, chosen, NOTHING_HELD),))
    port = ports.reserve(_EVERY_ADDRESS, REUSEADDR, chosen.ports).port
    return translate.alone(placement, identity, port)


def _as_found(
    environ: Mapping[str, str], found: Detection, placement: Placement, identity: Identity
) -> Translation:
    """Keep what is there: variables set by hand, or by the shim that started this process's parent."""
    contract = {name: environ[name] for name in names.CONTRACT if name in environ}
    if not contract:
        hint = "use --backend none, or start it with jobkit launch"
        wrong = f"{found.reason}, and no way to meet the other ranks is known"
        raise LaunchError(complaint("jobkit exec", wrong, hint=hint))
    met = (names.BACKEND, names.GANG_FILE, names.TOKEN_FILE, names.VICTIM_FILE)
    contract |= {name: environ[name] for name in met if name in environ}
    return Translation({**translate.placement_variables(placement, identity), **contract})


def _gang(
    environ: Mapping[str, str],
    placement: Placement,
    identity: Identity,
    wanted: tuple[str, ...],
    link: AgentLink,
) -> Translation:
    chosen = settings(environ)
    held = hold(placement, chosen)
    table = link.meet(report(environ, placement, chosen, held))
    names_ = backends.resolve(wanted, table.reports)
    _release_unused(held, names_, table)
    return translate.together(placement, identity, table, names_, _device(environ, placement, chosen, names_))


def hold(placement: Placement, chosen: Settings) -> Held:
    """Reserve every port that some backend may need; what the one chosen does not need is given back."""
    first = placement.rank == 0
    return Held(
        tuple(
            tuple(ports.reserve(ip, REUSEPORT, chosen.ports) for _ in range(chosen.connections_per_ip))
            for ip in addresses(placement)
        ),
        ports.reserve(_EVERY_ADDRESS, REUSEPORT, chosen.ports),
        ports.reserve(_EVERY_ADDRESS, REUSEADDR, chosen.ports) if first else None,
        ports.reserve(_EVERY_ADDRESS, REUSEADDR, _only(chosen.nccl_port) or chosen.ports) if first else None,
        ports.reserve(_EVERY_ADDRESS, REUSEPORT, chosen.ports) if first else None,
    )


def _only(port: int | None) -> tuple[int, int] | None:
    return None if port is None else (port, port)


def report(environ: Mapping[str, str], placement: Placement, chosen: Settings, held: Held) -> Report:
    """Return what this rank tells the others."""
    version, cuda_build = mlx_version()
    return Report(
        rank=placement.rank,
        host=os.uname().nodename,
        node=node_identity(),
        addresses=addresses(placement),
        jobkit=__version__,
        mlx=version,
        spec=chosen.spec_hash,
        devices=len(visible_devices(environ, device_nodes())),
        cuda_build=cuda_build,
        ring=tuple(tuple(r.port for r in row) for row in held.ring),
        layer=_port(held.layer),
        torch=_port(held.torch),
        nccl=_port(held.nccl),
        jaccl=_port(held.jaccl),
    )


def _port(reservation: Reservation | None) -> int:
    return 0 if reservation is None else reservation.port


def _release_unused(held: Held, chosen: tuple[str, ...], table: Table) -> None:
    unused: list[Reservation | None] = []
    if not translate.needs_ring(chosen, table):
        unused += [reservation for row in held.ring for reservation in row]
    unused += [] if "nccl" in chosen else [held.nccl]
    unused += [] if "jaccl" in chosen or "jaccl-ring" in chosen else [held.jaccl]
    for reservation in unused:
        if reservation is not None:
            ports.release(reservation)


def _device(
    environ: Mapping[str, str], placement: Placement, chosen: Settings, resolved: tuple[str, ...]
) -> str:
    per_rank = max(chosen.gpus_per_rank, 1 if "nccl" in resolved else 0)
    if not per_rank:
        return ""
    visible = visible_devices(environ, device_nodes())
    return devices_of(placement.local_rank, per_rank, visible, share=chosen.share_gpus)
