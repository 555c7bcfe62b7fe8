"""The jaccl backend: where its ranks meet and what they are told, and what it does over the stand-in."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobkit.errors import BackendError
from jobkit.native import jaccl
from jobkit.native.ring import Meeting

MESH = [[None, "a", "b"], ["a", None, "b"], ["a", "b", None]]


@pytest.fixture
def devices(tmp_path: Path) -> str:
    path = tmp_path / "devices.json"
    path.write_text(json.dumps(MESH))
    return str(path)


def contract(devices: str, rank: str = "1") -> dict[str, str]:
    return {"MLX_RANK": rank, "MLX_IBV_DEVICES": devices, "MLX_JACCL_COORDINATOR": "10.0.0.1:7000"}


def meeting(environ: dict[str, str]) -> Meeting:
    return jaccl.meeting(environ, jaccl.cables.read(environ["MLX_IBV_DEVICES"]))


def test_it_is_configured_where_devices_and_a_place_to_meet_are_named(devices: str) -> None:
    full = contract(devices)
    assert jaccl.is_configured(full)
    assert jaccl.is_configured({"JACCL_IBV_DEVICES": devices, "JACCL_COORDINATOR": "h:1"})
    assert jaccl.is_configured({"JACCL_IBV_DEVICES": devices, "JOBKIT_GANG_FILE": "g"})
    for name in ("MLX_IBV_DEVICES", "MLX_JACCL_COORDINATOR"):
        assert not jaccl.is_configured({**full, name: ""})


def test_the_ranks_meet_at_the_coordinator(devices: str) -> None:
    found = meeting(contract(devices))
    assert (found.rank, found.mode, found.hosts) == (1, "coordinator", [["10.0.0.1:7000"], [], []])
    assert meeting(contract(devices, "2")).job == found.job


def test_ranks_with_different_matrices_are_of_different_jobs(devices: str, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps([[None, "a", "b"], ["a", None, "b"], ["a", "c", None]]))
    assert meeting(contract(str(other))).job != meeting(contract(devices)).job


def test_names_of_its_own_come_first(devices: str) -> None:
    environ = contract(devices) | {"JACCL_RANK": "2", "JACCL_COORDINATOR": "h:5"}
    found = meeting(environ)
    assert (found.rank, found.hosts[0]) == (2, ["h:5"])


@pytest.mark.parametrize(
    ("variables", "wrong"),
    [
        ({"MLX_RANK": ""}, "MLX_RANK: not set although MLX_JACCL_COORDINATOR is"),
        ({"MLX_RANK": "3"}, "MLX_RANK: not in .*, got 3, expected a rank from 0 to 2"),
        ({"MLX_JACCL_COORDINATOR": "host"}, "MLX_JACCL_COORDINATOR: no port, got 'host'"),
        (
            {"JOBKIT_JACCL_QP": "ud"},
            "JOBKIT_JACCL_QP: unknown kind of connection, got 'ud', expected one of auto",
        ),
        ({"JOBKIT_JACCL_GID": "256"}, "JOBKIT_JACCL_GID: not an index, got 256, expected 0 to 255"),
        ({"JOBKIT_JACCL_LIBRARY": "/nowhere/libibverbs.so.1"}, "backend jaccl: no verbs library: /nowhere"),
    ],
)
def test_what_cannot_be_used_is_an_error(
    devices: str, standin: Path, variables: dict[str, str], wrong: str
) -> None:
    pytest.importorskip("jobkit.native._core")
    environ = {"JOBKIT_JACCL_LIBRARY": str(standin), **contract(devices), **variables}
    with pytest.raises(BackendError) as caught:
        jaccl.init(environ, False)
    caught.match(wrong)


@pytest.mark.parametrize("ring", [{}, {"MLX_JACCL_RING": "1"}])
@pytest.mark.parametrize("strict", [False, True])
def test_a_broken_mesh_is_no_silent_group_of_one(tmp_path: Path, ring: dict[str, str], strict: bool) -> None:
    path = tmp_path / "broken.json"
    path.write_text(json.dumps([[None, "a", None], ["a", None, "b"], [None, "b", None]]))
    for rank in "012":
        with pytest.raises(BackendError, match="no mesh: ranks 0 and 2 have no cable"):
            jaccl.init(contract(str(path), rank) | ring, strict)


def test_elsewhere_it_is_silent_unless_it_must_not_be() -> None:
    assert jaccl.init({}, False) is None
    with pytest.raises(BackendError, match="backend jaccl: not configured, expected MLX_IBV_DEVICES"):
        jaccl.init({}, True)


def test_a_matrix_of_one_is_a_group_of_one(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text("[[null]]")
    group = jaccl.init(contract(str(path), "0"), True)
    assert group is not None
    assert (group.size(), group.backend) == (1, "jaccl")


def test_it_says_why_it_is_not_available(caplog: Any) -> None:
    pytest.importorskip("jobkit.native._core")
    caplog.set_level("INFO")
    assert not jaccl.is_available({"JOBKIT_JACCL_LIBRARY": "/nowhere/libibverbs.so.1"})
    assert "backend jaccl: not available: no verbs library: /nowhere/libibverbs.so.1" in caplog.text


SUM = """
x = np.arange(5) + world.rank()
print(dist.all_sum(x).tolist(), [link["kind"] for link in world.topology()["links"]])
"""


def test_two_ranks_add_up_over_a_cable(cabled: Callable[..., Any]) -> None:
    ranks = cabled(2)
    ranks.start(SUM)
    assert ranks.outputs() == [
        "[1, 3, 5, 7, 9] ['self', 'rc']\n",
        "[1, 3, 5, 7, 9] ['rc', 'self']\n",
    ]


# --- failures: every rank learns of them, and who and what it was ---

LOOP = """
import socket
x = np.ones({count})
dist.all_sum(x)
print("ready", flush=True)
begun = time.monotonic()
try:
    while True:
        dist.all_sum(x)
except BackendError as error:
    print(round(time.monotonic() - begun, 2), str(error).replace(socket.gethostname(), "h"), flush=True)
"""


def failures(ranks: Any, of: range | list[int]) -> dict[int, str]:
    return {rank: ranks.said(rank).partition(" ")[2] for rank in of}


@pytest.mark.parametrize("mode", ["rc", "apple"])
@pytest.mark.parametrize("count", [1, 50_000])
def test_a_rank_that_is_killed_is_named_on_all_others(
    cabled: Callable[..., Any], mode: str, count: int
) -> None:
    ranks = cabled(3, mode=mode)
    ranks.start(LOOP.format(count=count))
    assert [ranks.said(rank) for rank in range(3)] == ["ready"] * 3
    ranks.ranks[1].kill()
    for text in failures(ranks, [0, 2]).values():
        assert "rank 1 (h) is gone: " in text


@pytest.mark.parametrize("mode", ["rc", "uc"])
def test_a_rank_that_is_stopped_is_named_on_all_others(cabled: Callable[..., Any], mode: str) -> None:
    ranks = cabled(3, mode=mode)
    ranks.start(LOOP.format(count=3), JOBKIT_HEARTBEAT_S="0.3")
    assert [ranks.said(rank) for rank in range(3)] == ["ready"] * 3
    ranks.ranks[2].send_signal(signal.SIGSTOP)
    try:
        for text in failures(ranks, [0, 1]).values():
            assert "rank 2 (h) is stopped or cut off: it has answered nothing for 1.5 s" in text
    finally:
        ranks.ranks[2].send_signal(signal.SIGCONT)


@pytest.mark.parametrize("mode", ["rc", "apple", "rc,noevents", "apple,noevents"])
def test_a_port_that_goes_down_is_named_on_every_rank(cabled: Callable[..., Any], mode: str) -> None:
    ranks = cabled(3, mode=mode)
    ranks.start(LOOP.format(count=3))
    assert [ranks.said(rank) for rank in range(3)] == ["ready"] * 3
    ranks.pull("r1to2.0")
    told = failures(ranks, range(3))
    # Whichever end notices first tells the others.
    of_one = r"rank 2 \(h\) cannot be reached: device r1to2\.0: "
    of_other = r"rank 1 \(h\) cannot be reached: device r2to1\.0: "
    for text in told.values():
        assert re.search(f"{of_one}|{of_other}", text)


@pytest.mark.parametrize(
    ("mode", "wrong"),
    [
        ("rc", "a send did not get through: transport retry counter exceeded (status 12)"),
        ("apple", "nothing comes over it from the other end, whose process answers otherwise"),
    ],
)
def test_a_cable_that_is_cut_where_nobody_notices_is_named(
    cabled: Callable[..., Any], mode: str, wrong: str
) -> None:
    ranks = cabled(3, mode=mode)
    ranks.start(LOOP.format(count=3), JOBKIT_HEARTBEAT_S="0.3")
    assert [ranks.said(rank) for rank in range(3)] == ["ready"] * 3
    ranks.pull("r0to1.0", kind="cut")
    told = failures(ranks, range(3))
    assert wrong in "".join(told.values())
    assert all("cannot be reached: device r" in text for text in told.values())


def test_an_idle_cable_that_is_cut_is_found_while_its_rank_is_waited_for(cabled: Callable[..., Any]) -> None:
    ranks = cabled(2)
    ranks.start(
        """
        dist.barrier()
        print("ready", flush=True)
        try:
            if world.rank() == 0:
                dist.barrier()
            else:
                sys.stdin.readline()
                dist.barrier()
        except BackendError as error:
            print(error, flush=True)
        """,
        JOBKIT_HEARTBEAT_S="0.3",
    )
    assert [ranks.said(rank) for rank in range(2)] == ["ready"] * 2
    ranks.pull("r1to0.0", kind="cut")
    assert "rank 1" in ranks.said(0)
    ranks.tell(1)
    assert "rank 1 (h) cannot be reached: device r0to1.0: " in ranks.said(1).replace(
        socket.gethostname(), "h"
    )


def test_what_an_unreliable_connection_loses_is_noticed_and_raises(cabled: Callable[..., Any]) -> None:
    ranks = cabled(2, mode="uc,drop=200")
    # Without measurements at the start, which would lose some already.
    ranks.start(LOOP.format(count=30_000), JOBKIT_SCHEDULE="builtin")
    assert [ranks.said(rank) for rank in range(2)] == ["ready"] * 2
    told = failures(ranks, range(2))
    assert "records were lost on the way to it" in "".join(told.values())
    assert all("device r" in text for text in told.values())


# --- what holds besides ---


def test_the_coordinators_port_is_closed_once_all_have_met(cabled: Callable[..., Any]) -> None:
    ranks = cabled(2)
    ranks.start(
        """
        import socket
        host, port = os.environ["MLX_JACCL_COORDINATOR"].split(":")
        with socket.socket() as probe:
            print(probe.connect_ex((host, int(port))) != 0)
        dist.barrier()
        """
    )
    assert ranks.outputs() == ["True\n"] * 2


def test_a_split_opens_no_queue_pair(cabled: Callable[..., Any]) -> None:
    ranks = cabled(4, mode="apple")
    ranks.start(
        """
        def open_files():
            return len(os.listdir("/proc/self/fd"))
        before = open_files()
        parts = [world.split(world.rank() % 2, key) for key in range(20)]
        for part in parts:
            dist.barrier(group=part)
        print(open_files() - before, dist.all_sum(np.ones(1), group=parts[-1]).tolist())
        """
    )
    assert ranks.outputs() == ["0 [2.0]\n"] * 4


def test_a_child_of_fork_holds_nothing_of_the_devices(cabled: Callable[..., Any]) -> None:
    ranks = cabled(2)
    ranks.start(
        """
        import contextlib, warnings
        warnings.simplefilter("ignore")
        child = os.fork()
        if child == 0:
            names = []
            for number in os.listdir("/proc/self/fd"):
                with contextlib.suppress(OSError):
                    names.append(os.readlink(f"/proc/self/fd/{number}"))
            os._exit(any("inotify" in name for name in names))
        print(os.waitpid(child, 0)[1], dist.all_sum(np.ones(1)).tolist())
        """
    )
    assert ranks.outputs() == ["0 [2.0]\n"] * 2
