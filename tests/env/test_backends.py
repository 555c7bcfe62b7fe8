from __future__ import annotations

from collections.abc import Callable

import pytest

from jobkit.env.backends import MPI_LAUNCHERS, parse, resolve
from jobkit.env.gang import Report, Table
from jobkit.errors import LaunchError, SpecError

Make = Callable[..., Table]


@pytest.mark.parametrize(
    ("wanted", "devices", "has_mesh", "chosen"),
    [
        (("any",), 0, False, ("ring",)),
        (("any",), 2, False, ("nccl",)),
        (("any",), 1, False, ("ring",)),  # two ranks, one device
        (("any",), 0, True, ("jaccl",)),
        (("any",), 2, True, ("nccl",)),
        (("ring",), 2, True, ("ring",)),
        (("ring", "nccl"), 2, False, ("ring", "nccl")),
        (("any", "ring"), 0, False, ("ring",)),
        (("jaccl-ring",), 0, True, ("jaccl-ring",)),
    ],
)
def test_any_is_what_every_rank_can_use(
    make_table: Make, wanted: tuple[str, ...], devices: int, has_mesh: bool, chosen: tuple[str, ...]
) -> None:
    assert resolve(wanted, make_table(2, devices=tuple("01"[:devices])).reports, has_mesh=has_mesh) == chosen


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("nccl", "backend nccl: rank 0 on node-1: no CUDA device is visible"),
        ("jaccl", "backend jaccl: no RDMA devices are known"),
        ("jaccl-ring", "backend jaccl-ring: no RDMA devices are known"),
        ("mpi", "backend mpi: ranks of MPI are started by MPI's launcher, not by torchrun"),
    ],
)
def test_a_backend_that_cannot_run_is_refused(make_table: Make, wanted: str, message: str) -> None:
    with pytest.raises(LaunchError, match=message):
        resolve((wanted,), make_table(2).reports, launcher="torchrun")


@pytest.mark.parametrize("launcher", MPI_LAUNCHERS)
def test_ranks_of_mpis_launchers_may_use_mpi(make_table: Make, launcher: str) -> None:
    assert resolve(("mpi", "ring"), make_table(2).reports, launcher=launcher) == ("mpi", "ring")


def test_any_is_nccl_where_the_launcher_gave_each_rank_a_device(make_report: Callable[..., Report]) -> None:
    own = tuple(make_report(rank, devices=(f"{rank}",)) for rank in range(3))
    assert resolve(("any",), own) == ("nccl",)
    assert resolve(("any",), (*own, make_report(3))) == ("ring",)


def test_several_names_are_separated_by_commas() -> None:
    assert parse("ring,nccl") == ("ring", "nccl")


@pytest.mark.parametrize("text", ["", "tcp", "ring,", "Ring"])
def test_an_unknown_name_lists_the_known(text: str) -> None:
    with pytest.raises(SpecError, match="expected one of any, ring, jaccl, jaccl-ring, mpi, nccl, none"):
        parse(text)
