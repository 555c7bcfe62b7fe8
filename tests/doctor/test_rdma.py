"""Checks of RDMA: a kernel's devices as its files tell of them, and what macOS's commands say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from jobkit.doctor import rdma
from jobkit.doctor.row import FAILS, OK, SKIPPED, WARNING, Question
from jobkit.plan import Plan

# As a guest's kernel shows its soft-RoCE over an interface with an address.
FILES = {
    "state": "4: ACTIVE\n",
    "link_layer": "Ethernet\n",
    "gids/0": "fe80:0000:0000:0000:5054:00ff:fe00:0001\n",
    "gids/1": "0000:0000:0000:0000:0000:ffff:0a01:0001\n",
    "gids/2": "0000:0000:0000:0000:0000:0000:0000:0000\n",
    "gid_attrs/types/0": "RoCE v2\n",
    "gid_attrs/types/1": "RoCE v2\n",
    "gid_attrs/ndevs/0": "eth0\n",
}
LISTED = """    device          	   node GUID
    ------          	----------------
    rxe0            	505400fffe000001
"""
MAC = """    device          	   node GUID
    ------          	----------------
    rdma_en5        	8eef9bb4e0f2b305
"""
ACTIVE = "\t\t\tstate:\t\t\tPORT_ACTIVE (4)\n\t\t\tGID[  1]:\t\t::ffff:169.254.1.1\n"


@pytest.fixture
def kernel(tmp_path: Path) -> Callable[..., Path]:
    """A function: make the files of a kernel with the device rxe0, some of them changed; None: missing."""

    def make(**changes: str | None) -> Path:
        for name, text in (FILES | {key.replace("__", "/"): value for key, value in changes.items()}).items():
            path = tmp_path / "rxe0" / "ports" / "1" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text is not None:
                path.write_text(text)
        return tmp_path

    return make


def linux(folder: Path, is_wanted: bool = True, listed: str = LISTED) -> dict[str, tuple[str, str, str]]:
    rows = list(rdma.on_linux(folder, is_wanted, lambda _: listed))
    return {row.check: (row.state, row.found, row.remedy) for row in rows}


def mac(**said: str) -> dict[str, tuple[str, str, str]]:
    def shell(words: Sequence[str]) -> str:
        return said.get(words[0], "")

    return {row.check: (row.state, row.found, row.remedy) for row in rdma.on_macs(shell, True)}


def test_a_kernel_without_a_device_fails_only_those_who_ask_for_one(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        assert linux(folder, is_wanted=True)["RDMA"][0] == FAILS
        assert linux(folder, is_wanted=False)["RDMA"][0] == SKIPPED


def test_a_device_that_is_ready(kernel: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rdma, "_limit", lambda: None)
    assert linux(kernel()) == {
        "RDMA": (OK, "rxe0", ""),
        "RDMA port": (OK, "rxe0: ACTIVE", ""),
        "RDMA GID": (OK, "rxe0: index 1, RoCE v2", ""),
        "memlock": (OK, "no limit", ""),
    }


@pytest.mark.parametrize(
    ("changes", "check", "state", "words"),
    [
        ({"state": "1: DOWN\n"}, "RDMA port", WARNING, ("rxe0: DOWN", "ip link set eth0 up")),
        ({"state": None}, "RDMA port", WARNING, ("rxe0: unknown",)),
        ({"gids__1": None}, "RDMA GID", WARNING, ("no IPv4 address", "dev eth0")),
        ({"gid_attrs__types__1": "IB/RoCE v1\n"}, "RDMA GID", WARNING, ("index 1 is RoCE v1",)),
    ],
)
def test_a_device_that_is_not(
    kernel: Callable[..., Path], changes: dict[str, str], check: str, state: str, words: tuple[str, ...]
) -> None:
    found = linux(kernel(**changes))[check]
    assert found[0] == state
    assert all(word in " ".join(found[1:]) for word in words), found


def test_infiniband_needs_no_address(kernel: Callable[..., Path]) -> None:
    assert "RDMA GID" not in linux(kernel(link_layer="InfiniBand\n", gids__1=None))


def test_a_library_that_does_not_know_the_device(kernel: Callable[..., Path]) -> None:
    assert linux(kernel(), listed=MAC)["RDMA"][:2] == (FAILS, "libibverbs does not know rxe0")
    assert linux(kernel(), listed="")["RDMA"][0] == WARNING


@pytest.mark.parametrize(("limit", "state"), [(None, OK), (8 << 20, WARNING), (64 << 20, OK)])
def test_the_memory_that_may_be_kept(limit: int | None, state: str) -> None:
    assert rdma.memlock(limit).state == state


def test_a_mac_that_is_ready() -> None:
    found = mac(
        ibv_devices=MAC, rdma_ctl="enabled\n", ibv_devinfo=ACTIVE, ifconfig="bridge0: flags=8822<X>\n"
    )
    assert {check: row[0] for check, row in found.items()} == {
        "RDMA": OK,
        "RDMA port": OK,
        "Thunderbolt Bridge": OK,
    }


@pytest.mark.parametrize(
    ("said", "check", "words"),
    [
        ({}, "RDMA", "macOS 26.2"),
        ({"rdma_ctl": "disabled\n", "ibv_devices": MAC}, "RDMA", "rdma_ctl enable"),
        ({"rdma_ctl": "enabled\n"}, "RDMA", "Thunderbolt 5"),
        ({"rdma_ctl": "enabled\n", "ibv_devices": MAC}, "RDMA port", "plug the cable in"),
        (
            {"rdma_ctl": "enabled\n", "ibv_devices": MAC, "ibv_devinfo": "PORT_ACTIVE"},
            "RDMA GID",
            "ifconfig en5 inet",
        ),
        (
            {"rdma_ctl": "enabled\n", "ibv_devices": MAC, "ifconfig": "bridge0: flags=8863<UP,BROADCAST>"},
            "Thunderbolt Bridge",
            "ifconfig bridge0 down",
        ),
    ],
)
def test_a_mac_that_is_not(said: dict[str, str], check: str, words: str) -> None:
    state, _, remedy = mac(**said)[check]
    assert state in (FAILS, WARNING)
    assert words in remedy


def test_ranks_on_other_machines_are_not_of_this_one(plan: Callable[..., Plan]) -> None:
    assert list(rdma.checks(Question({}, plan("backend: jaccl")))) == []
    assert [row.check for row in rdma.checks(Question({}))][:1] == ["RDMA"]


def test_a_command_that_is_not_there_says_nothing() -> None:
    assert rdma.output_of(["jobkit-no-such-command"]) == ""
    assert rdma.output_of(["echo", "here"]) == "here\n"
