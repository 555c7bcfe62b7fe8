"""Tell from what its commands have printed what a host has."""

from __future__ import annotations

from jobkit.errors import SpecError, complaint
from jobkit.hosts import linux, macs, networks, outputs
from jobkit.hosts.model import DARWIN, LINUX, Host, Network
from jobkit.hosts.outputs import Outputs

THUNDERBOLT, ETHERNET, RDMA = "thunderbolt", "ethernet", "rdma"
OVER = (THUNDERBOLT, ETHERNET, RDMA)


def describe(found: Outputs, over: str = THUNDERBOLT) -> Host:
    """Return a host.

    Args:
        found: What was printed there.
        over: The kind of network that is asked for: nothing else has to be there.

    Raises:
        SpecError: It is not what the commands print, or the host cannot have that kind of network.
    """
    if found.system == LINUX:
        return _linux(found, over)
    if found.system != DARWIN:
        expected = f"{DARWIN} or {LINUX}"
        raise SpecError(complaint(found.name, "an unknown system", got=found.system, expected=expected))
    if over == RDMA:
        hint = "Macs have RDMA over Thunderbolt: --over thunderbolt"
        raise SpecError(complaint(found.name, "a Mac has no RDMA network", got="--over rdma", hint=hint))
    return _mac(found, over)


def _mac(found: Outputs, over: str) -> Host:
    if over == THUNDERBOLT:
        hardware = macs.interfaces(found.needed(outputs.HARDWARE), found.place(outputs.HARDWARE))
        ports = macs.ports(found.needed(outputs.PROFILE), hardware, found.place(outputs.PROFILE))
    else:
        hardware, ports = {}, ()
    known = _networks(found)
    given = (
        address
        for file in (outputs.EN0, outputs.EN1)
        for address in macs.address(found.get(file), found.place(file))
    )
    cabled = {port.interface for port in ports}
    return Host(
        name=found.name,
        ports=ports,
        addresses=tuple(dict.fromkeys((*given, *_reached(found, known, cabled)))),
        rdma=macs.rdma_devices(found.get(outputs.RDMA)),
        bridge=hardware.get(macs.bridge(hardware), ""),
        bridge_name=macs.bridge(hardware),
        networks=known,
    )


def _networks(found: Outputs) -> tuple[Network, ...] | None:
    """Return the networks; None unless addresses and routes are both known."""
    texts = found.texts
    if outputs.IFCONFIG not in texts or outputs.NETSTAT not in texts:
        return None
    return networks.from_ifconfig(texts[outputs.IFCONFIG]) + networks.from_netstat(texts[outputs.NETSTAT])


def _reached(found: Outputs, known: tuple[Network, ...] | None, cabled: set[str]) -> tuple[str, ...]:
    """Return the address at which SSH reached a Mac whose Ethernet is neither en0 nor en1."""
    words = found.get(outputs.SSH).split()
    address = words[2] if len(words) == 4 else ""
    through = networks.around(known or (), address)
    is_cable = through is not None and through.interface in cabled
    return (address,) if networks.is_usable(address) and not is_cable else ()


def _linux(found: Outputs, over: str) -> Host:
    if over == THUNDERBOLT:
        hint = "--over ethernet, or --over rdma"
        raise SpecError(complaint(found.name, "Thunderbolt is for Macs", got="Linux", hint=hint))
    interfaces = linux.interfaces(found.needed(outputs.IP_ADDRESS), found.place(outputs.IP_ADDRESS))
    routes = linux.routes(found.get(outputs.IP_ROUTE), found.place(outputs.IP_ROUTE))
    words = found.get(outputs.SSH).split()
    return Host(
        name=found.name,
        addresses=linux.addresses(interfaces, routes, words[2] if len(words) == 4 else ""),
        rdma=linux.devices(found.get(outputs.INFINIBAND), found.get(outputs.RDMA_LINK)),
        networks=(*linux.networks(interfaces), *routes.networks),
        system=LINUX,
    )
