from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from jobkit.env.gang import Report, Table
from jobkit.env.resolve import resolve
from jobkit.env.settings import settings
from jobkit.env.translate import Resolved
from jobkit.errors import LaunchError

Make = Callable[..., Report]
GPUS = {"CUDA_VISIBLE_DEVICES": "2,3"}


def two(make: Make, **differs: object) -> Table:
    return Table(tuple(make(rank, **differs) for rank in range(2)), "")


def test_a_ring_needs_nothing_more(make_report: Make) -> None:
    assert resolve({}, 1, settings({}), ("any",), two(make_report), "jobkit") == Resolved(("ring",))


@pytest.mark.parametrize(
    ("wanted", "per_rank", "devices"),
    [("any", "", "3"), ("nccl", "1", "3"), ("ring", "1", "3"), ("ring", "", "")],
)
def test_a_rank_gets_its_part_of_what_is_visible(
    make_report: Make, wanted: str, per_rank: str, devices: str
) -> None:
    chosen = settings({"JOBKIT_GPUS_PER_RANK": per_rank})
    found = resolve(GPUS, 1, chosen, (wanted,), two(make_report, devices=("2", "3")), "slurm")
    assert found.devices == devices


def test_ranks_of_another_node_take_none_of_its_devices(make_report: Make) -> None:
    table = Table((make_report(0, devices=("2", "3")), make_report(1, node="b:2", devices=("2", "3"))), "")
    assert resolve(GPUS, 1, settings({}), ("nccl",), table, None).devices == "2"


def test_more_ranks_than_devices_are_an_error_unless_they_share(make_report: Make) -> None:
    table = two(make_report, devices=("2",))
    with pytest.raises(LaunchError, match="need 1 CUDA device"):
        resolve(GPUS, 1, settings({}), ("nccl",), table, None)
    chosen = settings({"JOBKIT_SHARE_GPUS": "1"})
    assert resolve({"CUDA_VISIBLE_DEVICES": "2"}, 1, chosen, ("nccl",), table, None).devices == "2"


@pytest.mark.parametrize(
    ("wanted", "backend"),
    [("any", "jaccl"), ("jaccl", "jaccl"), ("jaccl-ring", "jaccl-ring"), ("ring", "ring")],
)
def test_a_matrix_is_given_to_jaccl(make_report: Make, tmp_path: Path, wanted: str, backend: str) -> None:
    file = tmp_path / "hosts.json"
    file.write_text(json.dumps([{"ssh": "a", "rdma": [None, "x"]}, {"ssh": "b", "rdma": ["y", None]}]))
    table = Table((make_report(0, host="b", node="b"), make_report(1, host="a", node="a")), "")
    chosen = settings({"JOBKIT_JACCL_HOSTFILE": str(file)})
    found = resolve({}, 0, chosen, (wanted,), table, "jobkit")
    assert (found.backends, found.rdma) == (
        (backend,),
        None if wanted == "ring" else '[[null, "y"], ["x", null]]',
    )


def test_a_library_of_mpi_is_named_and_said_to_be_mlxs_or_not(make_report: Make, tmp_path: Path) -> None:
    for name, mark, of_mlx in (("openmpi", b"ompi_mpi_comm_world", True), ("mpich", b"MPIR_CVAR_", False)):
        file = tmp_path / f"libmpi.so.{name}"
        file.write_bytes(mark)
        found = resolve({"MPI_LIBNAME": str(file)}, 0, settings({}), ("mpi",), two(make_report), name)
        assert dict(found.library) == {"MLX_MPI_LIBNAME": str(file), "MPI4PY_LIBMPI": str(file)}
        assert found.mlx_mpi == of_mlx


@pytest.mark.parametrize(("launcher", "store"), [("slurm", True), ("torchrun", False), ("env", False)])
def test_torchs_store_is_the_launchers_own_where_it_has_one(
    make_report: Make, launcher: str, store: bool
) -> None:
    assert resolve({}, 0, settings({}), ("ring",), two(make_report), launcher).store == store
