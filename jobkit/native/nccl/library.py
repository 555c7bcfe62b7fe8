"""Find libnccl and load it, one copy in a process."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path

from jobkit.errors import BackendError, complaint
from jobkit.native.nccl import prototypes

LIBRARY = "JOBKIT_NCCL_LIB"
NAME = "libnccl.so.2"
MAPS = Path("/proc/self/maps")
_HINT = f"pip install 'jobkit[nccl]', or {LIBRARY}=PATH of libnccl.so.2"


def load(environ: Mapping[str, str]) -> ctypes.CDLL:
    """Return libnccl, its functions declared.

    It is the one that JOBKIT_NCCL_LIB names, else the one that is in the process already (PyTorch's, MLX's),
    that of the package nvidia-nccl, or what the loader finds. Two copies in a process do not work.

    Raises:
        BackendError: There is none, it cannot be loaded, is too old, or another copy is there already.
    """
    return _load(find(environ))


def find(environ: Mapping[str, str]) -> str:
    """Return the path of libnccl, or its bare name for the loader to look for.

    Raises:
        BackendError: JOBKIT_NCCL_LIB names another one than that which is loaded already.
    """
    named, there = environ.get(LIBRARY, ""), loaded()
    if named and there and not _is_same(named, there):
        expected = f"{there}, which this process has loaded already"
        hint = f"unset {LIBRARY}, or call init before whatever loads the other"
        raise BackendError(complaint(LIBRARY, "a second NCCL", got=named, expected=expected, hint=hint))
    return named or there or installed() or NAME


def loaded() -> str:
    """Return the path of the libnccl that this process has loaded, "" where it has none."""
    try:
        lines = MAPS.read_text().splitlines()
    except OSError:  # no Linux
        return ""
    # '7f00-7f01 r-xp 00000000 fe:00 123  /usr/lib/libnccl.so.2'
    paths = (line.split(maxsplit=5)[5] for line in lines if "/libnccl" in line)
    return next((path for path in paths if Path(path).name.startswith("libnccl.so")), "")


def installed() -> str:
    """Return the path of the libnccl of a package nvidia-nccl-cu12 or -cu13, "" where there is none."""
    try:
        package = importlib.util.find_spec("nvidia.nccl")
    except ImportError:  # nothing of NVIDIA's at all
        return ""
    folders = (package.submodule_search_locations or ()) if package else ()
    found = (Path(folder) / "lib" / NAME for folder in folders)
    return next((str(path) for path in found if path.exists()), "")


def version(nccl: ctypes.CDLL) -> tuple[int, int, int]:
    """Return the version of the library: (2, 27, 3)."""
    code = ctypes.c_int()
    nccl.ncclGetVersion(ctypes.byref(code))
    return code.value // 10000, code.value // 100 % 100, code.value % 100


def _is_same(one: str, other: str) -> bool:
    try:
        return Path(one).samefile(other)
    except OSError:  # a bare name, or no file
        return Path(one).name == Path(other).name


@functools.cache
def _load(path: str) -> ctypes.CDLL:
    try:
        nccl = ctypes.CDLL(path)
    except OSError as error:
        raise BackendError(complaint("libnccl", f"cannot be loaded: {error}", hint=_HINT)) from None
    prototypes.declare(nccl, path, prototypes.NCCL)
    prototypes.declare(nccl, path, prototypes.NCCL_TEXTS, ctypes.c_char_p)
    found = version(nccl)
    oldest = prototypes.OLDEST // 10000, prototypes.OLDEST // 100 % 100
    if found < oldest:
        expected = f"{'.'.join(map(str, oldest))} or later"
        raise BackendError(complaint(path, "too old", got=".".join(map(str, found)), expected=expected))
    return nccl
