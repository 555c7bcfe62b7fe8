"""Where ranks run: this host's network, or network namespaces of the measurement's own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from jobkit.env import identity
from jobkit.errors import LaunchError, SpecError, complaint

SYSTEM = "system"
CONGESTION = ("reno", "cubic", "bbr", SYSTEM)
_CONTROL = "/proc/sys/net/ipv4/tcp_congestion_control"
_IPV6 = "/proc/sys/net/ipv6/conf/default/disable_ipv6"
_DEVICE, _HOST = "jkbench", "jobkit-bench"


@dataclass(frozen=True)
class Place:
    """A network in which ranks run.

    Attributes:
        address: At which they reach each other.
        interface: Which has that address.
        holder: The process that keeps the namespace; 0 for this process's own.
        node: Boot id and network namespace.
        host: The name of the host there.
    """

    address: str = "127.0.0.1"
    interface: str = "lo"
    holder: int = 0
    node: str = ""
    host: str = os.uname().nodename

    @property
    def enter(self) -> tuple[str, ...]:
        """Words to put before a command that is to run there."""
        spaces = (f"--{kind}=/proc/{self.holder}/ns/{kind}" for kind in ("net", "uts"))
        return ("nsenter", *spaces, "--") if self.holder else ()


HERE = Place(node=identity.node_identity())


@contextmanager
def places(congestion: str, *, two: bool) -> Iterator[tuple[Place, ...]]:
    """Make the networks, one or two; they are gone at the end, or with this process however it ends.

    Args:
        congestion: What TCP uses there. A sysctl belongs to a namespace: hence one of our own, unless it is
            SYSTEM.
        two: Two namespaces with a cable (veth) between them.

    Raises:
        SpecError: This takes root.
        LaunchError: The system refuses it.
    """
    if congestion == SYSTEM and not two:
        yield (HERE,)
        return
    if os.geteuid() != 0:
        wanted = "--namespaces" if two else f"--congestion {congestion}"
        hint = f"--congestion {SYSTEM} measures each library as it comes"
        raise SpecError(complaint(wanted, "network namespaces are made by root only", hint=hint))
    with ExitStack() as stack:
        holders = [stack.enter_context(_namespace(congestion, f"{_HOST}-{n}")) for n in range(1 + two)]
        if two:
            _connect(*holders)
        yield tuple(_place(holder, number, cabled=two) for number, holder in enumerate(holders))


def _place(holder: int, number: int, *, cabled: bool) -> Place:
    node = f"{HERE.node.partition(':')[0]}:{os.stat(f'/proc/{holder}/ns/net').st_ino}"  # noqa: PTH116
    host = f"{_HOST}-{number}"
    if not cabled:
        return Place(holder=holder, node=node, host=host)
    return Place(f"10.99.0.{number + 1}", _DEVICE, holder, node, host)


@contextmanager
def _namespace(congestion: str, host: str) -> Iterator[int]:
    """Hold a namespace by a process that ends with this one: `cat`, whose standard input we keep open.

    It has a host's name of its own, since Open MPI tells hosts by these, and no IPv6: an address of the cable
    would be of no use for its first second, and libfabric tries it.
    """
    steps = [f"hostname {host}", "ip link set lo up", f"{{ test ! -e {_IPV6} || echo 1 > {_IPV6}; }}"]
    steps += [] if congestion == SYSTEM else [f"echo {congestion} > {_CONTROL}"]
    script = f"{' && '.join(steps)} && echo ready && exec cat > /dev/null"
    holder = subprocess.Popen(
        ["unshare", "--net", "--uts", "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with holder:
        assert holder.stdout is not None and holder.stderr is not None
        if holder.stdout.readline() != "ready\n":
            told = holder.communicate()[1].strip()
            raise LaunchError(_refused(congestion, told))
        yield holder.pid


def _refused(congestion: str, told: str) -> str:
    hint = f"see {os.path.dirname(_CONTROL)}/tcp_allowed_congestion_control"  # noqa: PTH120
    return complaint(f"--congestion {congestion}", f"refused for a network namespace ({told})", hint=hint)


def _connect(one: int, other: int) -> None:
    cable = ["link", "add", _DEVICE, "netns", str(one), "type", "veth", "peer", "name", _DEVICE]
    _ip([*cable, "netns", str(other)])
    for number, holder in enumerate((one, other)):
        inside = ["nsenter", f"--net=/proc/{holder}/ns/net", "--"]
        _ip(["addr", "add", f"10.99.0.{number + 1}/30", "dev", _DEVICE], inside)
        _ip(["link", "set", _DEVICE, "up"], inside)


def _ip(words: list[str], before: list[str] | None = None) -> None:
    done = subprocess.run([*(before or []), "ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LaunchError(complaint("--namespaces", f"ip {' '.join(words)}: {done.stderr.strip()}"))
