"""A reservation, attacked: by plain binds, by either option, by another user, by a second job."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from jobkit.env.ports import EVERY_ADDRESS, REUSEADDR, REUSEPORT, Reservation, release, reserve
from jobkit.errors import LaunchError

LOOPBACK = "127.0.0.1"
PLACES = [LOOPBACK, EVERY_ADDRESS]
NOBODY = 65534


@pytest.fixture
def hold() -> Iterator[Callable[[str, str], Reservation]]:
    """Reserve ports that are given back after the test."""
    held: list[Reservation] = []

    def take(host: str, listener: str) -> Reservation:
        held.append(reserve(host, listener, None))
        return held[-1]

    yield take
    for reservation in held:
        release(reservation)


def attack(host: str, port: int, *options: int, listen: bool = False) -> str:
    """Bind a port with options, and listen; returns the error's name, "" where it was let in."""
    with socket.socket() as attacker:
        for option in options:
            attacker.setsockopt(socket.SOL_SOCKET, option, 1)
        try:
            attacker.bind((host, port))
            if listen:
                attacker.listen()
        except OSError as error:
            return errno.errorcode[error.errno or 0]
    return ""


@pytest.mark.parametrize("host", PLACES)
@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(
    ("listener", "options"),
    [
        (REUSEPORT, ()),
        (REUSEPORT, (socket.SO_REUSEADDR,)),
        (REUSEADDR, ()),
        (REUSEADDR, (socket.SO_REUSEPORT,)),
    ],
)
def test_a_bind_of_another_kind_is_refused(
    hold: Callable[[str, str], Reservation], host: str, where: str, listener: str, options: tuple[int, ...]
) -> None:
    assert attack(where, hold(host, listener).port, *options) == "EADDRINUSE"


@pytest.mark.parametrize("host", PLACES)
@pytest.mark.parametrize(
    ("listener", "options"),
    [
        (REUSEPORT, (socket.SO_REUSEPORT,)),
        (REUSEPORT, (socket.SO_REUSEADDR, socket.SO_REUSEPORT)),  # as MLX's ring binds
        (REUSEADDR, (socket.SO_REUSEADDR,)),
    ],
)
def test_the_programs_own_listener_gets_in(
    hold: Callable[[str, str], Reservation], host: str, listener: str, options: tuple[int, ...]
) -> None:
    assert attack(host, hold(host, listener).port, *options, listen=True) == ""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("option", [socket.SO_REUSEPORT, socket.SO_REUSEADDR])
def test_another_user_is_refused_whatever_its_option(
    hold: Callable[[str, str], Reservation], option: int
) -> None:
    program = f"""
import os, socket
os.setuid({NOBODY})
attacker = socket.socket()
attacker.setsockopt(socket.SOL_SOCKET, {option}, 1)
try:
    attacker.bind(("{LOOPBACK}", {hold(LOOPBACK, REUSEPORT).port}))
except OSError as error:
    print(error.errno)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(errno.EADDRINUSE)


def test_a_second_job_never_gets_the_port(hold: Callable[[str, str], Reservation]) -> None:
    port = hold(LOOPBACK, REUSEPORT).port
    with pytest.raises(LaunchError, match=f"every port {port}-{port} of 127.0.0.1 is taken"):
        reserve(LOOPBACK, REUSEPORT, (port, port))
    with pytest.raises(LaunchError):
        reserve(EVERY_ADDRESS, REUSEADDR, (port, port))


def test_two_jobs_that_take_many_ports_share_none(hold: Callable[[str, str], Reservation]) -> None:
    kinds = [(host, listener) for host in PLACES for listener in (REUSEPORT, REUSEADDR)]
    ports = [hold(*kind).port for kind in kinds * 50]
    assert len(set(ports)) == 200


def test_the_first_free_port_of_a_range_is_taken(hold: Callable[[str, str], Reservation]) -> None:
    port = hold(LOOPBACK, REUSEPORT).port
    second = reserve(LOOPBACK, REUSEPORT, (port, port + 50))
    assert port < second.port <= port + 50
    release(second)


def test_it_never_listens_and_is_inherited(hold: Callable[[str, str], Reservation]) -> None:
    reservation = hold(LOOPBACK, REUSEPORT)
    assert os.get_inheritable(reservation.fd)
    with socket.socket() as caller:
        assert caller.connect_ex((LOOPBACK, reservation.port)) == errno.ECONNREFUSED


def test_an_address_of_another_host_is_named() -> None:
    with pytest.raises(LaunchError, match=r"no port of 192\.0\.2\.1 could be reserved"):
        reserve("192.0.2.1", REUSEPORT, None)
