"""Find the cables between hosts from what their ports say."""

from __future__ import annotations

from jobkit.errors import SpecError, complaint
from jobkit.hosts.macs import natural
from jobkit.hosts.model import Cable, End, Host, Port, Topology

Ports = dict[str, tuple[End, Port]]  # by the port's UUID


def connect(hosts: tuple[Host, ...]) -> Topology:
    """Return the hosts with the cables that both of their ends tell of.

    Raises:
        SpecError: Two hosts have a port with the same UUID: they are one machine.
    """
    ports = _ports(hosts)
    cables = {cable for uuid in ports if (cable := _cable(ports, uuid))}
    remarks = [f"{host.name}: has no Thunderbolt port" for host in hosts if not host.ports]
    remarks += [remark for uuid in ports if (remark := _remark(hosts, ports, uuid))]
    return Topology(hosts, tuple(sorted(cables, key=_place)), tuple(remarks))


def _ports(hosts: tuple[Host, ...]) -> Ports:
    found: Ports = {}
    for index, host in enumerate(hosts):
        for port in host.ports:
            if port.uuid in found:
                other = found[port.uuid][0]
                wrong = f"{port.interface} is {other.interface} of {hosts[other.host].name}: the same machine"
                raise SpecError(
                    complaint(host.name, wrong, got=port.uuid, hint="name every machine only once")
                )
            found[port.uuid] = End(index, port.interface), port
    return found


def _cable(ports: Ports, uuid: str) -> Cable | None:
    near, port = ports[uuid]
    far, peer = ports.get(port.peer, (near, port))
    if far.host <= near.host or peer.peer != uuid:
        return None
    return Cable((near, far), port.speed)


def _place(cable: Cable) -> tuple[object, ...]:
    near, far = cable.ends
    return near.host, far.host, natural(near.interface), natural(far.interface)


def _remark(hosts: tuple[Host, ...], ports: Ports, uuid: str) -> str:
    """Return what is odd about the cable in a port; "" if nothing is."""
    near, port = ports[uuid]
    if not port.peer:
        return ""
    where = f"{hosts[near.host].name}: {near.interface}"
    if port.peer not in ports:
        return (
            f"{where}: a cable leads to a machine that is not among the hosts ({port.peer_name or port.peer})"
        )
    far, peer = ports[port.peer]
    other = f"{far.interface} of {hosts[far.host].name}"
    if far.host == near.host:
        return f"{where}: a cable leads to {other}, the same machine"
    if peer.peer != uuid:
        return f"{where}: leads to {other}, which says otherwise; the cable is not counted"
    return ""
