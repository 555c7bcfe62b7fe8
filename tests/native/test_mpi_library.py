"""What is known of an MPI library before it is loaded, and what is refused before it is started."""

from __future__ import annotations

import ctypes.util
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobkit.errors import BackendError
from jobkit.native import mpi_library


@pytest.fixture
def _nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No library beside this Python nor on the loader's path, and mpi4py there."""
    monkeypatch.delitem(sys.modules, "mpi4py.MPI", raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(ctypes.util, "find_library", lambda _: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())


def library(vendor: str, size: int = 1) -> mpi_library.Library:
    """A library of that name: a stand-in, since what is refused would end the process in a real one."""
    mpi: Any = SimpleNamespace(
        get_vendor=lambda: (vendor, (5, 0, 11)),
        Is_initialized=lambda: False,
        COMM_WORLD=SimpleNamespace(size=size),
    )
    return mpi_library.Library(mpi)


@pytest.mark.usefixtures("_nothing")
def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert mpi_library.missing({}).startswith("there is no MPI library")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/libmpi.so.40").touch()
    assert mpi_library.missing({}) == ""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert mpi_library.missing({}) == "mpi4py is not installed"


@pytest.mark.usefixtures("_nothing")
def test_a_library_that_is_named_or_found_by_the_loader_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: "libmpich.so" if name == "mpich" else None)
    assert mpi_library.missing({}) == ""
    monkeypatch.setattr(ctypes.util, "find_library", lambda _: None)
    assert mpi_library.missing({"MPI4PY_LIBMPI": "/opt/libmpi.so"}) == ""


@pytest.mark.parametrize(("vendor", "kind"), [("Open MPI", "pmix"), ("MPICH", "pmi2")])
def test_srun_without_pmi_is_refused_with_the_kind_to_ask_for(vendor: str, kind: str) -> None:
    step = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4"}
    with pytest.raises(BackendError, match=f"srun started this rank without PMI(.|\n)*srun --mpi={kind} "):
        library(vendor).check_before_start(step)
    library(vendor).check_before_start(step | {"PMIX_RANK": "0"})
    library(vendor).check_before_start(step | {"SLURM_STEP_NUM_TASKS": "1"})


def test_a_world_of_another_size_names_launcher_library_and_remedy() -> None:
    wrong = r"mpiexec of MPICH \(Hydra\) started 2 ranks, and Open MPI 5.0.11 sees 1(.|\n)*'jobkit\[mpich\]'"
    with pytest.raises(BackendError, match=wrong):
        library("Open MPI").check_world({}, "PMI_SIZE", 2)
    with pytest.raises(BackendError, match=r"srun started 2 ranks(.|\n)*srun --mpi=pmi2"):
        library("MPICH").check_world({"SLURM_STEP_ID": "0"}, "SLURM_STEP_NUM_TASKS", 2)
    library("MPICH", 2).check_world({}, "PMI_SIZE", 2)
    library("MPICH").check_world({}, "", 0)
