"""Reserve TCP ports of this host, so that no other job can have them.

A reservation is a socket bound *without any option*, which every other bind conflicts with; only afterwards
it gets the one option that the program's own listener uses, so that this listener, and no plain one, may
bind beside it. It never listens and stays open in the program.
"""

from __future__ import annotations

# The C module: `socket` would add 9 ms of imports to every rank's start.
import _socket
import os

from jobkit.env.data import dataclass
from jobkit.errors import LaunchError, complaint

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Iterator

EVERY_ADDRESS = "0.0.0.0"  # listeners of torch, NCCL, JACCL and the bundled layer may bind every address
REUSEPORT = "reuseport"  # MLX's ring and JACCL, and the bundled layer, listen so
REUSEADDR = "reuseaddr"  # torch's store and MLX's NCCL bootstrap do
_OPTIONS = {REUSEPORT: _socket.SO_REUSEPORT, REUSEADDR: _socket.SO_REUSEADDR}


@dataclass(frozen=True)
class Reservation:
    """A port that is held.

    Attributes:
        port: Its number.
        fd: The bound socket, inheritable.
    """

    port: int
    fd: int


def reserve(host: str, listener: str, ports: tuple[int, int] | None) -> Reservation:
    """Hold a free port of an IPv4 address of this host.

    Args:
        host: The address; "0.0.0.0" for listeners that bind every address.
        listener: REUSEPORT or REUSEADDR, whichever the program's own listener sets.
        ports: First and last port to try, in turn; None leaves the choice to the kernel.

    Raises:
        LaunchError: Every port of the range is taken, or the address is not of this host.
    """
    refusal: OSError | None = None
    for port in _candidates(ports):
        try:
            return _bind(host, port, listener)
        except OSError as error:
            refusal = error
    raise LaunchError(_all_taken(host, ports, refusal))


def release(reservation: Reservation) -> None:
    """Give the port back."""
    os.close(reservation.fd)


def _candidates(ports: tuple[int, int] | None) -> Iterator[int]:
    return iter((0,)) if ports is None else iter(range(ports[0], ports[1] + 1))


def _bind(host: str, port: int, listener: str) -> Reservation:
    bound = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        bound.bind((host, port))
        bound.setsockopt(_socket.SOL_SOCKET, _OPTIONS[listener], 1)
        number = bound.getsockname()[1]
    except OSError:
        bound.close()
        raise
    fd = bound.detach()
    os.set_inheritable(fd, True)
    return Reservation(number, fd)


def _all_taken(host: str, ports: tuple[int, int] | None, refusal: OSError | None) -> str:
    why = "" if refusal is None else f" ({os.strerror(refusal.errno or 0)})"
    if ports is None:
        return complaint("network", f"no port of {host} could be reserved{why}")
    hint = "widen network.ports (JOBKIT_PORTS), or wait for the job that holds them; a rank takes 2 to 6"
    return complaint("network.ports", f"every port {ports[0]}-{ports[1]} of {host} is taken{why}", hint=hint)
