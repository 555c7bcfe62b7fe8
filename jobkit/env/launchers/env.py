"""A process whose MLX or torch variables were set by hand, or by mlx.launch."""

from __future__ import annotations

from jobkit.env.launchers.read import checked, count, own_host
from jobkit.env.placement import Facts, Found, Placement
from jobkit.errors import PlacementError, complaint

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

_MLX_RANK, _MLX_WORLD_SIZE = "MLX_RANK", "MLX_WORLD_SIZE"
_RANK, _WORLD_SIZE, _LOCAL_RANK, _LOCAL_WORLD_SIZE = "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"
_MLX_HOSTFILE, _MASTER_ADDR, _MASTER_PORT = "MLX_HOSTFILE", "MASTER_ADDR", "MASTER_PORT"
_FROM_HOSTS = ("size", "local_rank", "local_size", "node", "nodes", "hosts")


def detect(environ: Mapping[str, str], facts: Facts) -> Found | None:
    """Return the placement that plain variables say: MLX's first, then RANK with WORLD_SIZE."""
    if environ.get(_MLX_RANK):
        if facts.hostfile_hosts is not None:
            return _by_hosts(count(environ, _MLX_RANK), facts.hostfile_hosts)
        if environ.get(_MLX_WORLD_SIZE):
            return _by_size(environ, _MLX_RANK, _MLX_WORLD_SIZE, facts)
        raise _half(_MLX_RANK, environ[_MLX_RANK], f"{_MLX_HOSTFILE} or {_MLX_WORLD_SIZE}")
    given = {name: environ[name] for name in (_RANK, _WORLD_SIZE) if environ.get(name)}
    if len(given) == 2:
        return _by_size(environ, _RANK, _WORLD_SIZE, facts)
    for name, value in given.items():
        raise _half(name, value, _WORLD_SIZE if name == _RANK else _RANK)
    return None


def _half(name: str, value: str, other: str) -> PlacementError:
    """Half a placement: every process would be alone, and none would know."""
    hint = f"set {other} too, or unset {name}"
    return PlacementError(complaint(f"{name}={value}", f"says nothing without {other}", hint=hint))


def _by_hosts(rank: int, hosts: tuple[str, ...]) -> Found:
    nodes = list(dict.fromkeys(hosts))
    host = hosts[rank] if rank < len(hosts) else None
    local = [r for r, other in enumerate(hosts) if other == host]
    local_rank = local.index(rank) if rank in local else 0
    node = nodes.index(host) if host in nodes else 0
    placement = Placement(rank, len(hosts), local_rank, max(1, len(local)), node, len(nodes), hosts)
    sources = (("rank", _MLX_RANK), *((field, _MLX_HOSTFILE) for field in _FROM_HOSTS))
    return Found(checked(placement, sources), first_host=hosts[0], sources=sources)


def _by_size(environ: Mapping[str, str], rank_name: str, size_name: str, facts: Facts) -> Found:
    """Return the placement of RANK of SIZE.

    Without torch's local variables all are of this node, unless rank 0 is met at another address than
    loopback: then only the gang can tell.
    """
    rank, size = count(environ, rank_name), count(environ, size_name)
    address = environ.get(_MASTER_ADDR, "")
    local_rank = count(environ, _LOCAL_RANK) if environ.get(_LOCAL_RANK) else None
    local_size = count(environ, _LOCAL_WORLD_SIZE) if environ.get(_LOCAL_WORLD_SIZE) else None
    if local_size is None and (not address or is_loopback(address)):
        local_size = size
    sources = (
        ("rank", rank_name),
        ("size", size_name),
        ("local_rank", _LOCAL_RANK if local_rank is not None else rank_name),
        ("local_size", _LOCAL_WORLD_SIZE if environ.get(_LOCAL_WORLD_SIZE) else size_name),
        ("job", _MASTER_ADDR),
        ("first_host", _MASTER_ADDR),
    )
    node = nodes = None
    if local_size is not None:
        node, nodes = rank // max(1, local_size), -(-size // max(1, local_size))
        local_rank = rank % max(1, local_size) if local_rank is None else local_rank
    hosts = own_host(size, rank, facts.host, alone=local_size == size)
    placement = Placement(rank, size, local_rank, local_size, node, nodes, hosts)
    job = f"env-{address}:{environ.get(_MASTER_PORT, '')}" if address else ""
    return Found(checked(placement, sources), job, 1, address or None, sources)


def is_loopback(address: str) -> bool:
    """Say whether an address is of the same host wherever it is used."""
    return address == "localhost" or address.startswith("127.")
