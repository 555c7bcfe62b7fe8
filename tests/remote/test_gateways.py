from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobkit.remote import connection, gateways


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(gateways, "_shared", {})
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text(
        "Host h*\n ProxyJump outer,inner\nHost k*\n ProxyJump me@inner\n"
    )


def found(login: str, keys: str = "strict") -> Any:
    return connection._connection(login, "--hosts", keys)


def test_hosts_behind_one_gateway_share_its_connection() -> None:
    one, two, other = found("h1"), found("h2"), found("k1")
    assert one.gateway is two.gateway
    assert one.gateway.gateway is two.gateway.gateway
    assert (one.gateway.host, one.gateway.gateway.host) == ("inner", "outer")
    assert other.gateway is not one.gateway


def test_a_gateway_that_was_asked_less_is_not_shared() -> None:
    assert found("h1").gateway is not found("h1", "off").gateway


def test_every_gateway_on_the_way_is_opened_once() -> None:
    opened: list[str] = []

    class Transport:
        def set_keepalive(self, _seconds: int) -> None: ...

    def open_one(one: Any) -> None:
        opened.append(one.host)
        one.transport = Transport()
        type(one).is_connected = property(lambda self: isinstance(self.transport, Transport))

    gateway = found("h1").gateway
    kind = type(gateway)
    before = kind.is_connected
    try:
        gateways.open_(gateway, open_one)
        gateways.open_(found("h2").gateway, open_one)
    finally:
        kind.is_connected = before
    assert opened == ["outer", "inner"]
