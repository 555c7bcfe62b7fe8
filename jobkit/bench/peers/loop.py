"""Compile and load `loop.c`, which repeats a call of the engine without Python."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .library import UnservedError

_ERROR_BYTES = 1024
_FLAGS = ("-O2", "-shared", "-fPIC")


def engine(core: Any, group: Any, x: Any, out: Any, dtype: int) -> Callable[[int], float]:
    """Return a function: so many sums of `x` into `out`, one after the other; the seconds that they take.

    Args:
        core: The module `jobkit.native._core`.
        group: Its group.
        x, out: Contiguous arrays of the same length.
        dtype: The engine's code of their type.

    Raises:
        UnservedError: There is no compiler here, or it fails.
    """
    with tempfile.TemporaryDirectory(prefix="jobkit-loop-") as folder:  # a loaded library needs no file
        # Beside the Python sources: an editable installation keeps the compiled module elsewhere.
        headers = Path(str(sys.modules["jobkit.native"].__file__)).parent / "src"
        loop = ctypes.CDLL(_built(folder, headers)).loop
    loop.restype = ctypes.c_double
    loop.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_uint64, ctypes.c_int, ctypes.c_uint64]
    loop.argtypes += [ctypes.c_char_p, ctypes.c_size_t]
    capsules = ((core.c_api(), b"jobkit.native.c_api"), (group.handle(), b"jobkit.native.group"))
    pointers = [_pointer(capsule, name) for capsule, name in capsules]
    pointers += [x.ctypes.data, out.ctypes.data]
    error = ctypes.create_string_buffer(_ERROR_BYTES)

    def run(iterations: int, _keep: Any = (capsules, x, out)) -> float:
        seconds = loop(*pointers, x.size, dtype, iterations, error, _ERROR_BYTES)
        if seconds < 0:
            raise RuntimeError(error.value.decode())
        return float(seconds)

    return run


def _pointer(capsule: Any, name: bytes) -> int:
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return int(get(capsule, name))


def _built(folder: str, headers: Path) -> str:
    """Compile the library into a folder and return its path."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        raise UnservedError("no C compiler: set CC")
    path = f"{folder}/loop.so"
    source = str(Path(__file__).with_suffix(".c"))
    words = [*compiler.split(), *_FLAGS, f"-I{headers}", source, "-o", path]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnservedError(f"{' '.join(words)}: {done.stderr.strip()}")
    return path
