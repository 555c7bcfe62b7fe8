"""Find which RDMA devices of Linux hosts reach each other: those that are in one network."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from itertools import combinations

from jobkit.hosts import networks
from jobkit.hosts.model import Cable, Device, End, Host, Topology

Rails = dict[str, list[Device]]  # the devices of a host in each network
_ACTIVE = "ACTIVE"


def connect(hosts: tuple[Host, ...]) -> Topology:
    """Return the hosts, with a cable between two devices that are in one network.

    Whether there is a cable or a switch makes no difference. Of several devices of two hosts in one network
    the first of one goes with the first of the other, and so on, so that every device has its own.
    """
    rails = [_rails(host) for host in hosts]
    cables = []
    for one, other in combinations(range(len(hosts)), 2):
        pairs = {
            (near.interface, far.interface): near.speed
            for network in rails[one]
            for near, far in zip(rails[one][network], rails[other].get(network, ()), strict=False)
        }
        cables += [
            Cable((End(one, near), End(other, far)), speed) for (near, far), speed in sorted(pairs.items())
        ]
    remarks = [remark for host in hosts for device in host.rdma if (remark := _remark(host, device))]
    return Topology(hosts, tuple(cables), tuple(remarks))


def _rails(host: Host) -> Rails:
    found: Rails = defaultdict(list)
    for device in host.rdma:
        if device.state == _ACTIVE:
            for network in _networks(host, device):
                found[network].append(device)
    return found


def _networks(host: Host, device: Device) -> set[str]:
    """Return the networks that a device is in.

    InfiniBand's are told apart by the prefix of its subnet manager, those of RoCE by the addresses of the
    interface: a RoCE v2 packet is an IP packet.
    """
    found = set()
    for gid in device.gids:
        try:
            address = ipaddress.IPv6Address(gid.gid)
        except ValueError:
            continue
        if address.ipv4_mapped:
            own = networks.around(host.networks or (), str(address.ipv4_mapped), device.interface)
            found |= {own.cidr} if own else set()
        elif device.layer == "InfiniBand" or not address.is_link_local:
            found.add(str(ipaddress.IPv6Network((address, 64), strict=False)))
    return found


def _remark(host: Host, device: Device) -> str:
    where = f"{host.name}: {device.name} port {device.port}"
    if device.state != _ACTIVE:
        return f"{where} is {device.state or 'in no known state'}: not counted"
    if not _networks(host, device):
        return f"{where}: {device.interface} has no address that others share; give it one"
    return ""
