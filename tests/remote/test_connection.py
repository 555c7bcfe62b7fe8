from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from jobkit.errors import SubmitError
from jobkit.remote import connection, host_keys
from jobkit.remote.connection import LostError


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's ssh_config, empty at first."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(connection.time, "sleep", lambda _: None)
    (tmp_path / ".ssh").mkdir()
    return tmp_path / ".ssh" / "config"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_port_where_nobody_listens_is_told(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    with pytest.raises(LostError, match="cannot be reached"):
        connection.start(f"me@127.0.0.1:{port}", "true")


def test_a_server_that_drops_connections_is_tried_again(listener: socket.socket) -> None:
    accepted = []

    def drop() -> None:
        for _ in range(connection._TRIES):
            taken, _address = listener.accept()
            accepted.append(taken)
            taken.close()

    thread = threading.Thread(target=drop)
    thread.start()
    with pytest.raises(LostError, match="cannot be reached"):
        connection.start(f"me@127.0.0.1:{listener.getsockname()[1]}", "true")
    thread.join()
    assert len(accepted) == connection._TRIES


@pytest.mark.parametrize("login", ["", "@", "me@host:port"])
def test_what_is_no_login_is_refused(login: str) -> None:
    with pytest.raises(SubmitError, match=r"slurm.login: cannot be used"):
        connection.start(login, "true")


def test_a_name_that_is_no_host_is_told() -> None:
    with pytest.raises(SubmitError, match=r"no such host(?s:.*)hint: slurm.login takes user@host"):
        connection.start("me@no-such-host.invalid", "true")


def test_the_users_settings_count(settings: Path) -> None:
    settings.write_text(
        "Host near\n HostName far.example\n User her\n Port 2222\n ProxyJump gate\n IdentityFile /key\n"
        " IdentitiesOnly yes\nHost direct\n ProxyJump none\n"
    )
    found = connection._connection("near", "slurm.login")
    assert (found.host, found.user, found.port) == ("far.example", "her", 2222)
    assert (found.connect_kwargs["allow_agent"], found.connect_kwargs["key_filename"]) == (False, ["/key"])
    for one in (found, found.gateway):
        with pytest.raises(host_keys.UnknownKeyError):
            one.client._policy.missing_host_key(one.client, "far", paramiko.ECDSAKey.generate())
    assert not connection._connection("direct", "slurm.login").gateway


@pytest.mark.parametrize(
    ("name", "parts"), [("[login1]:2222", ("login1", "-p 2222 ")), ("login1", ("login1", ""))]
)
def test_a_name_of_known_hosts_has_a_port_in_it(name: str, parts: tuple[str, str]) -> None:
    assert connection._split(name) == parts
