"""Hosts, ports and cables as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

DARWIN, LINUX = "Darwin", "Linux"


@dataclass(frozen=True)
class Port:
    """A Thunderbolt port.

    Attributes:
        interface: Its network interface ('en5').
        uuid: Of this end of a cable.
        peer: What the other end's `uuid` is; "" where no computer is at the other end.
        peer_name: What the other computer calls itself; "" where none is there.
        speed: As the machine says it ('80 Gb/s'); "" if it does not.
        name: As macOS calls it ('Thunderbolt 1').
    """

    interface: str
    uuid: str
    peer: str = ""
    peer_name: str = ""
    speed: str = ""
    name: str = ""


@dataclass(frozen=True)
class Network:
    """A network that a host reaches.

    Attributes:
        cidr: '192.168.1.0/24'.
        interface: Through which.
    """

    cidr: str
    interface: str


@dataclass(frozen=True)
class Gid:
    """An address of an RDMA port.

    Attributes:
        index: Its place in the port's table.
        gid: 'fe80:0000:0000:0000:…'.
        kind: 'RoCE v2', 'IB/RoCE v1'; "" where that is not known.
    """

    index: int
    gid: str
    kind: str = ""


@dataclass(frozen=True)
class Device:
    """An RDMA device: one of its ports.

    Attributes:
        name: 'rdma_en5', 'mlx5_0'.
        interface: The network interface that it belongs to; without one its own name.
        port: Its number.
        state: 'ACTIVE', 'DOWN'; "" where that is not known.
        speed: '100 Gb/sec (4X EDR)'; "" where that is not known.
        layer: 'Ethernet', 'InfiniBand'; "" where that is not known.
        gids: Its addresses.
    """

    name: str
    interface: str
    port: int = 1
    state: str = ""
    speed: str = ""
    layer: str = ""
    gids: tuple[Gid, ...] = ()


@dataclass(frozen=True)
class Host:
    """A computer.

    Attributes:
        name: As ssh knows it.
        ports: In the order of their interfaces.
        addresses: Of its Ethernet or Wi-Fi, those that others reach it by, the likeliest first.
        rdma: Its RDMA devices.
        bridge: The interface that bridges its Thunderbolt ports; "" without.
        bridge_name: What macOS calls it.
        networks: That it reaches now; None where that is not known.
        system: As `uname -s` says.
    """

    name: str
    ports: tuple[Port, ...] = ()
    addresses: tuple[str, ...] = ()
    rdma: tuple[Device, ...] = ()
    bridge: str = ""
    bridge_name: str = ""
    networks: tuple[Network, ...] | None = None
    system: str = DARWIN

    def device(self, interface: str) -> str:
        """Return the RDMA device of an interface; "" without."""
        return next((device.name for device in self.rdma if device.interface == interface), "")


@dataclass(frozen=True)
class End:
    """One end of a cable.

    Attributes:
        host: Its index.
        interface: The port's interface there.
    """

    host: int
    interface: str


@dataclass(frozen=True)
class Cable:
    """A cable between two hosts.

    Attributes:
        ends: That of the earlier host first.
        speed: As the earlier host says it; "" if it does not.
    """

    ends: tuple[End, End]
    speed: str = ""

    def end(self, host: int) -> End:
        """Return the end at a host."""
        return self.ends[0] if self.ends[0].host == host else self.ends[1]

    def far_end(self, host: int) -> End:
        """Return the end at the other host."""
        return self.ends[1] if self.ends[0].host == host else self.ends[0]


@dataclass(frozen=True)
class Topology:
    """Hosts and the cables between them.

    Attributes:
        hosts: In the order that was asked for.
        cables: By hosts, then by the earlier host's interface.
        remarks: What else the ports say: cables to unknown machines, ends that contradict each other.
    """

    hosts: tuple[Host, ...]
    cables: tuple[Cable, ...]
    remarks: tuple[str, ...] = ()

    def between(self, one: int, other: int) -> tuple[Cable, ...]:
        """Return the cables of a pair."""
        return self._of_pair.get(frozenset((one, other)), ())

    @cached_property
    def _of_pair(self) -> dict[frozenset[int], tuple[Cable, ...]]:
        found: dict[frozenset[int], tuple[Cable, ...]] = {}
        for cable in self.cables:
            pair = frozenset(end.host for end in cable.ends)
            found[pair] = (*found.get(pair, ()), cable)
        return found
