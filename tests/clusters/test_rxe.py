"""The jaccl backend on the RDMA device of a real kernel: soft-RoCE in a guest, four ranks on one device."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from clusters import guests, rxe

# The ranks share two emulated processors.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
KINDS = ("rc", "uc")

# Rank 1 signals itself in the middle; the others call until they are told.
SIGNALLED = """
import os, signal
import jobkit.native as dist
group = dist.init(strict=True, backend="jaccl")
for _ in range(3):
    dist.all_sum(1.0)
if group.rank() == 1:
    os.kill(os.getpid(), signal.{signal})
try:
    while True:
        dist.all_sum(1.0)
except RuntimeError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def guest(_guests_can_be_had: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[guests.Guest]:
    with guests.one(tmp_path_factory.mktemp("guest")) as alone:
        yield alone


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("matrix", [rxe.MESH, rxe.RING], ids=["mesh", "ring"])
def test_four_ranks_do_all_operations(guest: guests.Guest, matrix: list[list[str | None]], kind: str) -> None:
    environ = rxe.environ([guest], matrix, "127.0.0.1", JOBKIT_JACCL_QP=kind)
    ranks = rxe.wait(guest, rxe.start(guest, 0, 4, rxe.OPERATIONS, environ))
    assert [rank["status"] for rank in ranks] == [0] * 4, ranks
    for rank in ranks:
        links = re.findall(r"'kind': '(\w+)', 'devices': '(\w*)'", rank["out"])
        # Of a ring the two neighbours alone.
        assert links.count((kind, "rxe0")) == sum(map(bool, matrix[0])), rank
        assert links.count(("self", "")) == 1, rank
        assert "shm" not in dict(links), rank


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("signal", "status", "said"),
    [("SIGKILL", -9, "is gone"), ("SIGSTOP", "stopped", "is stopped or cut off")],
)
def test_every_rank_is_told_of_one_that_was_signalled(
    guest: guests.Guest, signal: str, status: int | str, said: str, kind: str
) -> None:
    matrix = [row[:3] for row in rxe.MESH[:3]]
    environ = rxe.environ([guest], matrix, "127.0.0.1", JOBKIT_JACCL_QP=kind)
    ranks = rxe.wait(guest, rxe.start(guest, 0, 3, SIGNALLED.format(signal=signal), environ))
    assert [rank["status"] for rank in ranks] == [0, status, 0], ranks
    for rank in (ranks[0], ranks[2]):
        assert re.search(rf"\[jaccl\] rank \d of 3: all_sum #\d+: rank 1 .*{said}", rank["out"]), rank


def test_a_mesh_without_a_cable_is_refused_by_every_rank(guest: guests.Guest) -> None:
    broken = [list(row) for row in rxe.MESH]
    broken[0][1] = broken[1][3] = broken[3][1] = None
    environ = rxe.environ([guest], broken, "127.0.0.1")
    ranks = rxe.wait(guest, rxe.start(guest, 0, 4, rxe.OPERATIONS, environ))
    assert [rank["status"] for rank in ranks] == [1] * 4, ranks
    for rank in ranks:
        assert "ranks 0 and 1 have no cable (rank 1 names a device, rank 0 names none)" in rank["out"], rank
        assert "ranks 1 and 3 have no cable" in rank["out"], rank


def test_a_device_that_is_not_there_is_named(guest: guests.Guest) -> None:
    matrix = [[None, "rxe0"], ["rxe9", None]]
    environ = rxe.environ([guest], matrix, "127.0.0.1")
    ranks = rxe.wait(guest, rxe.start(guest, 0, 2, rxe.OPERATIONS, environ))
    assert [rank["status"] for rank in ranks] == [1] * 2, ranks
    for rank in ranks:
        assert "rxe9" in rank["out"], rank
