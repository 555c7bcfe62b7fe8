"""Find the MPI libraries of this machine and tell whose they are, without loading one."""

from __future__ import annotations

import os
import sys

from jobkit.env.data import dataclass

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OPENMPI, MPICH = "Open MPI", "MPICH"
# Intel MPI, MVAPICH and Cray MPICH are MPICH inside and answer to the same launchers.
_MARKS = ((b"ompi_mpi_comm_world", OPENMPI), (b"MPIR_CVAR_", MPICH))
_PMIX = b"PMIx_Init"
_CHUNK_BYTES = 1 << 20
# libmpi.so.40, libmpi.so.12, libmpi.dylib, libmpich.so.12; on Cray libmpi_cray.so, libmpi_gnu_123.so
_NAMES = ("libmpi.", "libmpich.", "libmpi_cray", "libmpi_gnu_", "libmpi_nvidia")
_LOADER = "DYLD_LIBRARY_PATH" if sys.platform == "darwin" else "LD_LIBRARY_PATH"
_LOADER_CACHE = "/etc/ld.so.cache"
_DEFAULT = ("/usr/lib64", "/usr/lib", "/usr/local/lib", "/opt/homebrew/lib")
_OF_MPIRUN = "OMPI_LIBDIR_LOC"  # mpirun of Open MPI 5: the folder of its own library
_ENVIRONMENTS = ("VIRTUAL_ENV", "CONDA_PREFIX")


@dataclass(frozen=True)
class Library:
    """An MPI library.

    Attributes:
        path: Where it is.
        vendor: OPENMPI, MPICH or "" for neither.
        pmix: Whether it can ask a PMIx server which rank it is.
        plugins: Names of Open MPI's plugins that ask another server, "s1", "s2" (Slurm) or "flux".
    """

    path: str
    vendor: str
    pmix: bool
    plugins: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return its path, and whose it is."""
        return f"{self.path} ({self.vendor or 'an unknown library'})"


def inspect(path: str) -> Library | None:
    """Return what a library is by the symbols in it; None where it cannot be read."""
    if not os.path.isfile(path):
        return None
    try:
        seen = _marks(path, (*(mark for mark, _ in _MARKS), _PMIX))
    except OSError:
        return None
    vendor = next((vendor for mark, vendor in _MARKS if mark in seen), "")
    # Open MPI 4 has PMIx in a plugin, and is never built without.
    return Library(path, vendor, vendor == OPENMPI or _PMIX in seen, _plugins(path))


def _marks(path: str, marks: tuple[bytes, ...]) -> set[bytes]:
    """Return which of the marks are in a file, which may be 40 MB, in pieces that overlap."""
    seen: set[bytes] = set()
    tail = b""
    with open(path, "rb", buffering=0) as file:
        while len(seen) < len(marks) and (chunk := file.read(_CHUNK_BYTES)):
            data = tail + chunk
            seen.update(mark for mark in marks if mark in data)
            tail = data[-max(map(len, marks)) :]
    return seen


def _plugins(path: str) -> tuple[str, ...]:
    """Return the plugins of Open MPI 4: in `openmpi/` beside it, Debian's in `openmpi/lib/openmpi3/`."""
    own = f"{os.path.dirname(os.path.realpath(path))}/openmpi"
    folders = (own, *(f"{own}/lib/{name}" for name in _listed(f"{own}/lib")))
    names = [name for folder in folders for name in _listed(folder)]
    return tuple(kind for kind in ("s1", "s2", "flux") if f"mca_pmix_{kind}.so" in names)


def libraries(environ: Mapping[str, str], prefix: str = sys.prefix) -> Iterator[str]:
    """Yield the paths of MPI libraries: the launcher's own first, then in the order of mpi4py and the loader.

    Args:
        environ: Where the search paths are.
        prefix: Of this interpreter, beside which the wheels of Open MPI and MPICH put theirs.
    """
    seen = set()
    for path in _candidates(environ, prefix):
        real = os.path.realpath(path)
        if real not in seen:
            seen.add(real)
            yield path


def _candidates(environ: Mapping[str, str], prefix: str) -> Iterator[str]:
    for folder in _folders(environ, prefix):
        names = [name for name in _listed(folder) if name.startswith(_NAMES)]
        yield from (f"{folder}/{name}" for name in sorted(names))
    yield from _in_loader_cache()


def _folders(environ: Mapping[str, str], prefix: str) -> Iterator[str]:
    yield from filter(None, [environ.get(_OF_MPIRUN)])
    yield from (f"{root}/lib" for root in [prefix, *(environ.get(name) for name in _ENVIRONMENTS)] if root)
    yield from filter(None, environ.get(_LOADER, "").split(":"))
    for folder in filter(None, environ.get("PATH", "").split(":")):
        if os.path.exists(f"{folder}/mpiexec"):
            yield from (f"{os.path.dirname(folder)}/{name}" for name in ("lib", "lib64"))
    yield from _DEFAULT


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _in_loader_cache() -> list[str]:
    """Return the libraries among the paths in the dynamic loader's cache: its texts end in NUL."""
    try:
        with open(_LOADER_CACHE, "rb") as file:
            texts = [text.decode(errors="replace") for text in file.read().split(b"\0") if text[:1] == b"/"]
    except OSError:
        return []
    named = [text for text in texts if os.path.basename(text).startswith(_NAMES)]
    # Debian's libmpich.so has 40 MB, which take 0.1 s to look through: the others come first.
    return sorted(named, key=lambda text: "libmpich." in text)
