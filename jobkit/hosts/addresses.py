"""Give every cable a network of its own that no host has already."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from jobkit.errors import SpecError, complaint
from jobkit.hosts.model import Topology

Networks = list[ipaddress.IPv4Network]
Pair = tuple[str, str]

# Private ones, the seldom used first: routers at home give out 192.168.0 and 192.168.1.
_POOLS = ("192.168.128.0/17", "172.24.0.0/14", "10.192.0.0/10")
_PREFIX = 30  # two addresses, as a cable has ends
NETMASK = "255.255.255.252"


def plan(topology: Topology) -> tuple[Pair, ...]:
    """Return the addresses of each cable's ends.

    What the cables' own interfaces have now does not count: it is replaced, and a second plan is the same.

    Raises:
        SpecError: The hosts' networks leave too little of the private ones.
    """
    free = _free(_taken(topology))
    found = []
    for _ in topology.cables:
        network = next(free, None)
        if network is None:
            wrong = f"no private network is left for {len(topology.cables)} cables beside those of the hosts"
            hint = "take a VPN or a route down that covers all of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"
            raise SpecError(complaint("addresses", wrong, hint=hint))
        near, far = network.hosts()
        found.append((str(near), str(far)))
    return tuple(found)


def unchecked(topology: Topology) -> tuple[str, ...]:
    """Return the hosts whose networks are not known, so that an address might collide there."""
    return tuple(host.name for host in topology.hosts if host.networks is None)


def _taken(topology: Topology) -> Networks:
    cabled = {(end.host, end.interface) for cable in topology.cables for end in cable.ends}
    reached = {
        ipaddress.IPv4Network(network.cidr)
        for index, host in enumerate(topology.hosts)
        for network in host.networks or ()
        if (index, network.interface) not in cabled
    }
    own = {
        ipaddress.IPv4Network((address, 24), strict=False)
        for host in topology.hosts
        for address in host.addresses
        if ":" not in address
    }
    return list(ipaddress.collapse_addresses(reached | own))


def _free(taken: Networks) -> Iterator[ipaddress.IPv4Network]:
    for pool in map(ipaddress.IPv4Network, _POOLS):
        for part in _without(pool, [one for one in taken if one.overlaps(pool)]):
            if part.prefixlen <= _PREFIX:
                yield from part.subnets(new_prefix=_PREFIX)


def _without(pool: ipaddress.IPv4Network, taken: Networks) -> Networks:
    """Return what is left of a pool, in order."""
    left = [pool]
    for one in taken:
        left = [
            part
            for whole in left
            for part in (
                []
                if whole.subnet_of(one)
                else whole.address_exclude(one)
                if one.subnet_of(whole)
                else [whole]
            )
        ]
    return sorted(left)
