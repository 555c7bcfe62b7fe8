"""The tables of functions, against the libraries that can be had here."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobkit.errors import BackendError
from jobkit.native import arrays
from jobkit.native.nccl import prototypes

REAL = os.environ.get("JOBKIT_TEST_NCCL", "")


def test_a_library_without_one_of_the_functions_is_refused() -> None:
    with pytest.raises(BackendError, match="libc: has no function ncclGetVersion, expected a version that"):
        prototypes.declare(ctypes.CDLL(None), "libc", prototypes.NCCL)


def test_the_stand_in_has_all_of_them(standin: Path) -> None:
    made = ctypes.CDLL(str(standin))
    for table in (prototypes.NCCL, prototypes.NCCL_TEXTS, prototypes.CUDA):
        prototypes.declare(made, str(standin), table)


@pytest.mark.skipif(
    not REAL, reason="JOBKIT_TEST_NCCL does not name NVIDIA's libnccl; `make test` installs it"
)
def test_the_real_library_has_all_of_them() -> None:
    code = f"""
import ctypes
from jobkit.native.nccl import prototypes as p
library = ctypes.CDLL({REAL!r})
p.declare(library, "libnccl", p.NCCL), p.declare(library, "libnccl", p.NCCL_TEXTS)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_data_type_is_one_of_the_engine() -> None:
    assert set(prototypes.DATA_TYPES) < set(arrays.DTYPES)


def test_the_configuration_is_that_of_version_2_18() -> None:
    config = prototypes.non_blocking()
    assert (config.size, config.version, config.blocking) == (48, 21800, 0)
    assert ctypes.sizeof(prototypes.UniqueId) == 128
