"""MPI through a real Slurm: the kind is chosen on the node, and ranks that could not meet do not start."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from clusters import mpi
from clusters.slurm import Slurm

Submit = Callable[..., subprocess.CompletedProcess[str]]
EXEC = ("jobkit", "exec", "--backend", "mpi", "--", "echo", "started")


@pytest.fixture
def submit(cluster: Slurm, jobkit_home: Path, tmp_path: Path) -> Submit:
    """Submit a command for two nodes of two ranks from the login host, and wait for its end."""

    def run(backend: str, command: list[str], *lines: str) -> subprocess.CompletedProcess[str]:
        head = ("executor: slurm", "nodes: 2", "ranks_per_node: 2", f"backend: {backend}")
        (tmp_path / "a.yaml").write_text("\n".join((*head, f"run: {json.dumps(command)}", *lines, "")))
        return cluster.run("jobkit", "submit", "a.yaml", "--follow", "--wait", cwd=str(tmp_path), check=False)

    return run


def test_training_is_the_same_over_both_rings_and_mpi(submit: Submit, repository: Path) -> None:
    program = [str(repository / "docs/examples/train_digits.py"), "--epochs", "2", "--batch-size", "512"]
    ways = {"ring": ("ring", []), "bundled": ("ring", ["-m", "jobkit.native"]), "mpi": ("mpi", [])}
    losses = []
    for way, (backend, module) in ways.items():
        done = submit(backend, [sys.executable, *module, *program], "cpus_per_rank: 1")
        assert done.returncode == 0, (way, done.stderr)
        assert "with 4 rank(s)" in done.stdout
        losses.append([float(number) for number in re.findall(r"loss (\S+)", done.stdout)])
    assert len(losses[0]) == 2
    assert losses[1] == pytest.approx(losses[0], rel=2e-3)
    assert losses[2] == pytest.approx(losses[0], rel=2e-3)


def test_where_no_kind_fits_the_library_it_is_told_and_nothing_starts(submit: Submit) -> None:
    done = submit("mpi", ["echo", "started"], "env: {MLX_MPI_LIBNAME: /no/such/libmpi.so}")
    assert (done.returncode, "started" in done.stdout) == (125, False), done.stderr
    assert re.search(r"srun --mpi=list: .*pmix.*; libraries: none\)", done.stderr), done.stderr
    assert "hint: unset MLX_MPI_LIBNAME, or pip install" in done.stderr


@pytest.mark.parametrize("ranks", ["1", "2"])
def test_ranks_that_each_would_be_a_world_of_one_are_refused_with_the_line_to_use(
    cluster: Slurm, ranks: str, jobkit_home: Path
) -> None:
    library = mpi.find("Open MPI 4")
    if isinstance(library, str):
        pytest.skip(library)
    done = cluster.run("srun", "--mpi=none", f"-n{ranks}", *EXEC, check=False)
    assert (done.returncode, done.stdout) == (125, ""), done.stderr
    assert "slurm offers no interface of MPI, and no library here fits it" in done.stderr
    assert "every rank would be rank 0 of 1" in done.stderr
    assert "hint: srun --mpi=pmix jobkit exec --backend mpi" in done.stderr
    assert cluster.run("srun", "--mpi=pmix", f"-n{ranks}", *EXEC).stdout == "started\n" * int(ranks)


def test_a_library_that_does_not_speak_the_steps_interface_is_refused(
    cluster: Slurm, jobkit_home: Path
) -> None:
    library = mpi.find("MPICH 4")
    if isinstance(library, str):
        pytest.skip(library)
    done = cluster.run("srun", "--mpi=pmix", "-n2", *EXEC, check=False, MLX_MPI_LIBNAME=library.library)
    assert (done.returncode, done.stdout) == (125, ""), done.stderr
    assert "the launcher slurm offers PMIx, and no library here fits it (found: " in done.stderr
    assert "hint: unset MLX_MPI_LIBNAME, or srun --mpi=pmi2 jobkit exec" in done.stderr
