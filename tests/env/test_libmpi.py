from __future__ import annotations

from pathlib import Path

import pytest

from jobkit.env import libmpi
from jobkit.env.libmpi import MPICH, OPENMPI, inspect, libraries

OPEN = b"\x7fELF\0ompi_mpi_comm_world\0"
OTHER = b"\x7fELF\0MPIR_CVAR_DEBUG\0"


def library(folder: Path, name: str, content: bytes = OPEN) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return str(folder / name)


@pytest.mark.parametrize(
    ("content", "vendor", "pmix"),
    [
        (OPEN, OPENMPI, True),
        (OTHER, MPICH, False),
        (OTHER + b"PMIx_Init\0", MPICH, True),
        (b"something else", "", False),
        (b"", "", False),
    ],
)
def test_a_library_is_known_by_its_symbols(tmp_path: Path, content: bytes, vendor: str, pmix: bool) -> None:
    found = inspect(library(tmp_path, "libmpi.so", content))
    assert found is not None
    assert (found.vendor, found.pmix, found.plugins) == (vendor, pmix, ())


@pytest.mark.parametrize("before", range(-len(b"ompi_mpi_comm_world"), 1))
def test_a_symbol_across_two_pieces_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    monkeypatch.setattr(libmpi, "_CHUNK_BYTES", 64)
    found = inspect(
        library(tmp_path, "libmpi.so", b"x" * (128 + before) + b"ompi_mpi_comm_world" + b"x" * 99)
    )
    assert found is not None
    assert found.vendor == OPENMPI


@pytest.mark.parametrize("folder", ["openmpi", "openmpi/lib/openmpi3"])
def test_the_plugins_of_open_mpi_4_are_beside_it(tmp_path: Path, folder: str) -> None:
    path = library(tmp_path, "libmpi.so.40")
    library(tmp_path / folder, "mca_pmix_s2.so")
    found = inspect(path)
    assert found is not None
    assert found.plugins == ("s2",)


def test_what_cannot_be_read_is_no_library(tmp_path: Path) -> None:
    assert inspect(str(tmp_path)) is None
    assert inspect("/dev/zero") is None
    assert inspect(str(tmp_path / "libmpi.so")) is None


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No libraries but the test's."""
    monkeypatch.setattr(libmpi, "_LOADER_CACHE", "/no/cache")
    monkeypatch.setattr(libmpi, "_DEFAULT", ())


@pytest.mark.usefixtures("alone")
def test_the_launchers_library_comes_first_then_the_interpreters(tmp_path: Path) -> None:
    a, b, c, d, e = (
        library(tmp_path / name / "lib", "libmpi.so.40", OPEN + name.encode()) for name in "abcde"
    )
    (tmp_path / "e" / "bin").mkdir()
    (tmp_path / "e" / "bin" / "mpiexec").touch()
    environ = {
        "OMPI_LIBDIR_LOC": str(tmp_path / "a" / "lib"),
        "VIRTUAL_ENV": str(tmp_path / "c"),
        libmpi._LOADER: f"/nowhere:{tmp_path}/d/lib",
        "PATH": f"/nowhere:{tmp_path}/e/bin",
    }
    assert list(libraries(environ, str(tmp_path / "b"))) == [a, b, c, d, e]


@pytest.mark.usefixtures("alone")
def test_a_library_has_one_path_and_others_are_none(tmp_path: Path) -> None:
    real = library(tmp_path / "lib", "libmpi.so.40.30.4")
    for name in ("libmpi.so", "libmpi.so.40"):
        (tmp_path / "lib" / name).symlink_to(real)
    library(tmp_path / "lib", "libmpi_cxx.so.40")
    assert list(libraries({}, str(tmp_path))) == [str(tmp_path / "lib" / "libmpi.so")]


def test_the_loaders_cache_is_read_and_the_largest_libraries_come_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mpich, openmpi = library(tmp_path, "libmpich.so.12", OTHER), library(tmp_path, "libmpi.so.40")
    cache = tmp_path / "ld.so.cache"
    texts = ("glibc-ld.so.cache1.1", "\x01", "libmpich.so.12", mpich, openmpi, "/lib/libc.so.6", "")
    cache.write_text("\0".join(texts))
    monkeypatch.setattr(libmpi, "_LOADER_CACHE", str(cache))
    monkeypatch.setattr(libmpi, "_DEFAULT", ())
    assert list(libraries({}, str(tmp_path / "none"))) == [openmpi, mpich]
