"""Which libnccl is loaded, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobkit.native.nccl import library

REAL = os.environ.get("JOBKIT_TEST_NCCL", "")
needs_real = pytest.mark.skipif(
    not REAL, reason="JOBKIT_TEST_NCCL does not name NVIDIA's libnccl.so.2; `make test` installs it"
)


def run(source: str, **environ: str) -> str:
    """Return what a program prints. A library that is loaded stays, hence a process for each."""
    before = (
        "import ctypes, os\nfrom jobkit.errors import BackendError\nfrom jobkit.native.nccl import library\n"
    )
    command = [sys.executable, "-c", before + source]
    done = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_variable_comes_first(standin: Path) -> None:
    assert run("print(library.find(os.environ))", JOBKIT_NCCL_LIB=str(standin)) == str(standin)
    assert (
        run("print(library.version(library.load(os.environ)))", JOBKIT_NCCL_LIB=str(standin)) == "(2, 27, 0)"
    )


def test_what_the_process_has_loaded_already_is_taken(standin: Path) -> None:
    assert run(f"ctypes.CDLL('{standin}'); print(library.find({{}}))") == str(standin)


def test_a_second_copy_is_refused(standin: Path) -> None:
    source = f"""
ctypes.CDLL('{standin}')
try:
    library.find({{"JOBKIT_NCCL_LIB": "/opt/libnccl.so.2.20"}})
except BackendError as error:
    print(error)
print(library.find({{"JOBKIT_NCCL_LIB": "{standin}"}}))
"""
    told = run(source)
    assert f"a second NCCL, got '/opt/libnccl.so.2.20', expected {standin}, which this process has" in told
    assert told.endswith(str(standin))


def test_an_installed_package_is_found(tmp_path: Path) -> None:
    made = tmp_path / "nvidia" / "nccl" / "lib" / "libnccl.so.2"
    made.parent.mkdir(parents=True)
    made.touch()
    assert run("print(library.installed())", PYTHONPATH=str(tmp_path)) == str(made)


def test_without_any_the_loader_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("loaded", "installed"):
        monkeypatch.setattr(library, name, lambda: "")
    assert library.find({}) == "libnccl.so.2"


def test_a_library_that_cannot_be_loaded_is_an_error_with_a_remedy() -> None:
    source = """
try:
    library.load({"JOBKIT_NCCL_LIB": "/no/such"})
except BackendError as error:
    print(error)
"""
    told = run(source)
    assert told.startswith("libnccl: cannot be loaded: /no/such: cannot open")
    assert "hint: pip install 'jobkit[nccl]', or JOBKIT_NCCL_LIB=PATH of libnccl.so.2" in told


def test_a_library_that_is_too_old_is_refused(standin: Path) -> None:
    source = """
try:
    library.load(os.environ)
except BackendError as error:
    print(error)
"""
    told = run(source, JOBKIT_NCCL_LIB=str(standin), STANDIN_VERSION="21701")
    assert told == f"{standin}: too old, got '2.17.1', expected 2.18 or later"


@needs_real
def test_the_real_library_gives_its_version_and_numbers_that_differ() -> None:
    source = """
from jobkit.native.nccl.communicator import unique_id
nccl = library.load(os.environ)
print(library.version(nccl) >= (2, 18, 0), library.loaded() == os.environ["JOBKIT_NCCL_LIB"])
print(unique_id(nccl) != unique_id(nccl), len(unique_id(nccl)))
"""
    assert run(source, JOBKIT_NCCL_LIB=REAL) == "True True\nTrue 128"


@needs_real
def test_without_a_device_the_real_library_is_refused_with_its_reason(
    run_nccl: Callable[..., list[str]],
) -> None:
    """The stand-in's driver says that there is a device, which NCCL's own runtime does not find."""
    source = """
        from jobkit import native
        try:
            native.init(backend="nccl", strict=True)
        except BackendError as error:
            print(str(error).replace(chr(10), " "))
    """
    for output in run_nccl(2, source, init=False, JOBKIT_NCCL_LIB=REAL, NCCL_SOCKET_IFNAME="lo"):
        assert "NCCL: ncclCommInitRankConfig: unhandled cuda error" in output
