"""From the name of the coordinator's host to addresses to try."""

from __future__ import annotations

import _socket

from jobkit.env.addresses import is_global
from jobkit.env.json_ import loads
from jobkit.env.tcp.rendezvous import LOOPBACK, Rendezvous

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable

_SCONTROL_S = 10


def places(where: Rendezvous, own_host: str) -> Callable[[], list[tuple[str, int]]]:
    """Return a function that says which addresses and ports to try now.

    A name that does not resolve yet is looked up again each time: in Kubernetes it appears once the pod is
    ready.

    Args:
        where: Where the ranks meet.
        own_host: This host's name.
    """
    found: dict[str, list[str]] = {}

    def look() -> list[tuple[str, int]]:
        if where.file:
            return written(where.file)
        for host in where.hosts:
            if not found.get(host):
                found[host] = resolve(host, own_host, ask_slurm=host not in found)
        return [(address, port) for host in where.hosts for address in found[host] for port in where.ports]

    return look


def written(path: str) -> list[tuple[str, int]]:
    """Return the addresses and the port that the coordinator wrote; none before it has."""
    try:
        with open(path, encoding="utf-8") as file:
            said = loads(file.read())
        return [(str(address), int(said["port"])) for address in said["addresses"]]
    except (OSError, ValueError, LookupError, TypeError):
        return []  # not there yet, or not whole on this host: it is looked at again


def resolve(host: str, own_host: str, *, ask_slurm: bool = True) -> list[str]:
    """Return the IPv4 addresses of a host, none while it has no name.

    What resolves to loopback (Debian gives a host's own name 127.0.1.1) is this host itself or a mistake:
    it is kept only for this host's own name.
    """
    addresses = by_name(host) or (by_slurm(host) if ask_slurm else [])
    is_own = host.partition(".")[0] == own_host.partition(".")[0] or host in (LOOPBACK, "localhost")
    kept = [address for address in addresses if is_own or is_global(address)]
    return [*kept, LOOPBACK] if is_own and LOOPBACK not in kept else kept


def by_name(host: str) -> list[str]:
    """Return what the system's resolver says."""
    # As bytes where that is the same: for text Python loads its codec of international names, which costs
    # every rank milliseconds and has rules of its own.
    name = host.encode() if host.isascii() else host
    try:
        answers = _socket.getaddrinfo(name, None, _socket.AF_INET, _socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


def by_slurm(host: str) -> list[str]:
    """Return the address that Slurm has for a node whose name nobody else knows."""
    import shutil
    import subprocess

    scontrol = shutil.which("scontrol")
    if scontrol is None:
        return []
    try:
        asked = subprocess.run(
            [scontrol, "show", "node", host, "--oneliner"],
            capture_output=True,
            text=True,
            timeout=_SCONTROL_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    words = dict(word.partition("=")[::2] for word in asked.stdout.split())
    address = words.get("NodeAddr", "")
    return by_name(address) if address and address != host else []
