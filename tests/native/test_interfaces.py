"""Where this host can be reached."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from jobkit.native import interfaces


def test_the_identity_of_a_host_is_the_same_for_all_its_processes() -> None:
    assert interfaces.host_identity() == interfaces.host_identity()
    assert interfaces.host_identity()


def test_addresses_are_this_hosts_and_loopback_only_where_there_is_no_other() -> None:
    found = interfaces.addresses()
    assert found
    for address in found:
        with socket.socket() as bound:
            bound.bind((address, 0))  # only an address of this host can be bound
    loopback = [ipaddress.ip_address(address).is_loopback for address in found]
    assert not any(loopback) or found == ["127.0.0.1"]


def test_a_reserved_port_is_nobody_elses_and_can_be_listened_on() -> None:
    with interfaces.reserved_port() as port:
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind(("", port))
        with socket.socket() as own:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            own.bind(("127.0.0.1", port))
            own.listen()
