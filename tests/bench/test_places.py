from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from jobkit.bench.places import HERE, places
from jobkit.errors import LaunchError, SpecError

needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0
    or not (shutil.which("ip") and shutil.which("nsenter") and shutil.which("unshare"))
    or subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode != 0,
    reason="needs root, iproute2 and util-linux, and a system that makes network namespaces",
)


def inside(place: object, *command: str) -> str:
    enter = getattr(place, "enter")  # noqa: B009
    return subprocess.run([*enter, *command], capture_output=True, text=True, check=True).stdout


def test_the_systems_own_setting_takes_place_here() -> None:
    with places("system", two=False) as found:
        assert found == (HERE,)
        assert found[0].enter == ()


@needs_namespaces
def test_a_congestion_control_belongs_to_a_namespace_of_its_own() -> None:
    path = "/proc/sys/net/ipv4/tcp_congestion_control"
    before = Path(path).read_text()

    with places("reno", two=False) as (place,):
        assert inside(place, "cat", path) == "reno\n"
        assert "127.0.0.1" in inside(place, "ip", "addr", "show", "lo")
        assert Path(path).read_text() == before
        assert place.node != HERE.node
    assert not Path(f"/proc/{place.holder}").exists()


@needs_namespaces
def test_two_namespaces_reach_each_other_over_a_cable() -> None:
    with places("reno", two=True) as (one, other):
        assert one.address != other.address
        assert f"{other.address} dev {one.interface}" in inside(one, "ip", "route", "get", other.address)
        assert f"{one.address} dev {one.interface}" in inside(other, "ip", "route", "get", one.address)


@needs_namespaces
def test_what_the_system_refuses_is_a_complaint() -> None:
    with (
        pytest.raises(LaunchError, match="--congestion no-such-thing: refused"),
        places("no-such-thing", two=False),
    ):
        pass


def test_others_than_root_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SpecError, match="root only"), places("reno", two=False):
        pass
