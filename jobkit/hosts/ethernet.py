"""Choose the address that the others reach a host by."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from jobkit.hosts import networks
from jobkit.hosts.model import Host


@dataclass(frozen=True)
class Chosen:
    """Addresses.

    Attributes:
        addresses: One for each host, () for a host without.
        problems: Why they will not do.
        remark: What may be wrong with them; "" if nothing is.
    """

    addresses: tuple[tuple[str, ...], ...]
    problems: tuple[str, ...] = ()
    remark: str = ""


def choose(hosts: tuple[Host, ...]) -> Chosen:
    """Return an address of each host, all in one network if there is one that all hosts have."""
    of_network = [{_network(host, address): address for address in host.addresses[::-1]} for host in hosts]
    ours = [_network(hosts[0], address) for address in hosts[0].addresses] if hosts else []
    shared = [network for network in ours if network and all(network in own for own in of_network)]
    found: tuple[tuple[str, ...], ...]
    if shared:
        found = tuple((own[shared[0]],) for own in of_network)
    else:
        found = tuple(host.addresses[:1] for host in hosts)
    are_known = all(host.networks is not None and host.addresses for host in hosts)
    remark = "" if shared or not are_known or len(hosts) < 2 else "the hosts have no network in common"
    return Chosen(found, tuple(_problems(hosts, found)), remark)


def _network(host: Host, address: str) -> str:
    """Return the network of a host's own address; "" where that is not known."""
    found = networks.around(host.networks or (), address)
    return found.cidr if found else ""


def _problems(hosts: tuple[Host, ...], found: tuple[tuple[str, ...], ...]) -> list[str]:
    pairs = list(zip(hosts, found, strict=True))
    problems = [f"{host.name}: has no address on Ethernet or Wi-Fi" for host, own in pairs if not own]
    for own, count in Counter(found).items():
        if own and count > 1:
            names = " and ".join(host.name for host, other in pairs if other == own)
            problems.append(f"{names} have one address, {own[0]}: name every machine only once")
    return problems
