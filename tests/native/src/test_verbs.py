"""RDMA cables under the engine, over a stand-in for libibverbs: every operation in every mode of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jobkit.native._core")

SUM, MAX, MIN = 0, 1, 2
INT32, FLOAT32 = 7, 11
Threads = Callable[..., list[Any]]

# What each stands for is said in standin/ibverbs.c.
MODES = {
    "rc": ("rc", "rc"),
    "uc": ("rc", "uc"),
    "no-rc": ("uc", "uc"),
    "apple": ("apple", "uc"),
    "apple-late": ("apple,delay=300,reorder", "uc"),
    "late": ("rc,delay=300", "rc"),
    "reordered": ("rc,reorder", "rc"),
    "silent": ("rc,silent", "rc"),
}


@pytest.fixture
def cables(threads: Threads, standin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Threads:
    """A function: run `program(group)` on n ranks of a mesh, or a ring, of cables."""

    def run(
        n: int,
        program: Callable[[Any], Any],
        mode: str = "rc",
        n_cables: int = 1,
        ring: bool = False,
        **options: Any,
    ) -> list[Any]:
        def devices(i: int, j: int) -> list[str]:
            is_near = (j - i) % n in (1, n - 1)
            return [f"r{i}to{j}.{k}" for k in range(n_cables)] if i != j and (is_near or not ring) else []

        matrix = options.pop("devices", [[devices(i, j) for j in range(n)] for i in range(n)])
        monkeypatch.setenv("STANDIN_FABRIC", str(tmp_path))
        monkeypatch.setenv("STANDIN_MODE", MODES[mode][0])
        monkeypatch.setenv(
            "STANDIN_DEVICES", ",".join(name for row in matrix for cell in row for name in cell)
        )
        given = {"shared_memory": False, "label": "jaccl", "queue_pair": "uc" if mode == "uc" else "auto"}
        return threads(n, program, **({"devices": matrix, "library": str(standin)} | given | options))

    return run


def pattern(rank: int, count: int) -> np.ndarray[Any, Any]:
    """Return small integers as float32: every sum of them is exact, whatever its order."""
    return ((np.arange(count) * 7 + rank * 3) % 101).astype(np.float32)


def every_operation(group: Any, count: int) -> None:
    n, r = group.size, group.rank
    own = pattern(r, count)
    blocks = np.concatenate([pattern(p, count) for p in range(n)])
    out, wide = np.full(count, np.nan, np.float32), np.full(n * count, np.nan, np.float32)
    for op, of in ((SUM, np.sum), (MAX, np.max), (MIN, np.min)):
        group.all_reduce(op, own, out, count, FLOAT32)
        np.testing.assert_array_equal(of(blocks.reshape(n, count), axis=0), out)
    group.all_gather(own, wide, count, FLOAT32)
    np.testing.assert_array_equal(blocks, wide)
    group.reduce_scatter(SUM, blocks, out, count, FLOAT32)
    np.testing.assert_array_equal(n * own, out)
    root = n - 1
    data = own.copy() if r == root else np.zeros(count, np.float32)
    group.broadcast(data, count, FLOAT32, root)
    np.testing.assert_array_equal(pattern(root, count), data)
    group.gather(own, wide if r == root else None, count, FLOAT32, root)
    if r == root:
        np.testing.assert_array_equal(blocks, wide)
    group.scatter(blocks if r == root else None, out, count, FLOAT32, root)
    np.testing.assert_array_equal(own, out)
    group.all_to_all(np.concatenate([pattern(r * n + p, count) for p in range(n)]), wide, count, FLOAT32)
    np.testing.assert_array_equal(np.concatenate([pattern(p * n + r, count) for p in range(n)]), wide)
    group.barrier()
    group.sendrecv(own, count, (r + 1) % n, out, count, (r - 1) % n, FLOAT32)
    np.testing.assert_array_equal(pattern((r - 1) % n, count), out)


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("mode", MODES)
def test_every_operation_works_in_every_mode(cables: Threads, mode: str, n: int) -> None:
    def program(group: Any) -> Any:
        for count in (0, 1, 5, 1024, 5_000, 70_001):
            every_operation(group, count)
        half = group.split(group.rank % 2)
        every_operation(half, 33) if half.size > 1 else None
        every_operation(group, 7)
        return group.topology()["links"]

    for rank, links in enumerate(cables(n, program, mode)):
        expected = ["self" if p == rank else MODES[mode][1] for p in range(n)]
        assert [link["kind"] for link in links] == expected
        assert [link["devices"] for link in links if link["kind"] != "self"] == [
            f"r{rank}to{p}.0" for p in range(n) if p != rank
        ]


@pytest.mark.parametrize("mode", ["rc", "apple"])
def test_several_cables_carry_one_message_in_parts(cables: Threads, mode: str) -> None:
    def program(group: Any) -> Any:
        every_operation(group, 300_001)
        every_operation(group, 3)
        return group.topology()["links"][1 - group.rank]["devices"]

    found = cables(2, program, mode, n_cables=3)
    assert found == ["r0to1.0, r0to1.1, r0to1.2", "r1to0.0, r1to0.1, r1to0.2"]


@pytest.mark.parametrize("mode", ["rc", "apple"])
def test_where_only_neighbours_have_cables_messages_hop(cables: Threads, mode: str) -> None:
    def program(group: Any) -> Any:
        for count in (1, 5_000):
            every_operation(group, count)
        far = (group.rank + 2) % 4
        got = np.empty(3, np.int32)
        group.sendrecv(np.full(3, group.rank, np.int32), 3, far, got, 3, far, INT32)
        assert got.tolist() == [far] * 3
        return group.topology()["kind"], group.topology()["matrix"][0]

    expected = ("neighbours", ["self", "direct", "relayed", "direct"])
    assert cables(4, program, mode, ring=True) == [expected] * 4


def test_memory_is_shared_where_that_is_asked_for(cables: Threads) -> None:
    def program(group: Any) -> Any:
        every_operation(group, 100)
        return [link["kind"] for link in group.topology()["links"]]

    assert cables(2, program, shared_memory=True) == [["self", "shm"], ["shm", "self"]]


def test_a_message_that_nobody_has_asked_for_waits_and_so_does_a_sender(cables: Threads) -> None:
    def program(group: Any) -> Any:
        data = np.arange(1 << 20, dtype=np.int32)
        if group.rank == 0:
            for tag in (1, 2):
                group.send(data + tag, data.size, INT32, 1, tag)
            return None
        got = np.empty_like(data)
        sums = []
        for tag in (2, 1):
            group.recv(got, got.size, INT32, 0, tag)
            sums.append(bool((got == data + tag).all()))
        return sums

    assert cables(2, program)[1] == [True, True]


def errors(results: list[Any]) -> list[str]:
    assert all(isinstance(result, Exception) for result in results), results
    return [str(result) for result in results]


def test_a_device_that_is_not_there_is_named_on_both_sides(
    cables: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = monkeypatch.setenv
    monkeypatch.setattr(
        monkeypatch,
        "setenv",
        lambda name, value: real(name, "r0to1.0" if name == "STANDIN_DEVICES" else value),
    )
    first, second = errors(cables(2, every_operation, check=False))
    assert "no cable to rank 1: there, no device r1to0.0, expected one of r0to1.0" in first
    assert "no cable to rank 0: no device r1to0.0, expected one of r0to1.0" in second


@pytest.mark.parametrize(
    ("mode", "options", "wrong"),
    [
        ("apple", {"queue_pair": "rc"}, "device r0to1.0 has no reliable connections (JOBKIT_JACCL_QP=rc)"),
        ("rc", {"gid": 3}, "device r0to1.0: no GID 3 in its table of 4 (JOBKIT_JACCL_GID)"),
        ("rc", {"gid": 0}, "its queue pair does not become ready to receive: Invalid argument"),
        ("rc", {"library": "/nowhere.so"}, "no verbs library: /nowhere.so: cannot open"),
    ],
)
def test_what_a_device_cannot_do_is_said(
    cables: Threads, mode: str, options: dict[str, Any], wrong: str
) -> None:
    assert wrong in errors(cables(2, every_operation, mode, check=False, **options))[0]


def test_a_port_that_is_down_is_named(cables: Threads, tmp_path: Path) -> None:
    (tmp_path / "down").mkdir()
    (tmp_path / "down" / "r0to1.0").touch()
    first, second = errors(cables(2, every_operation, check=False))
    assert "no cable to rank 1: device r0to1.0: its port is not active" in first
    assert "no cable to rank 0: there, device r0to1.0: its port is not active" in second


def test_more_cables_than_the_device_has_queue_pairs_are_refused_with_the_reason(
    cables: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in errors(
        cables(
            2, every_operation, "apple", n_cables=1, check=False, devices=[[[], ["x"] * 11], [["x"] * 11, []]]
        )
    ):
        assert "device x: no queue pair (are there too many on it already?)" in text or "is gone" in text
