"""Tell arrays in the memory of a CUDA device from those in the host's. Imports no library.

They are those of PyTorch and JAX there, and what offers `__cuda_array_interface__` or DLPack, as CuPy's do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

CUDA_DEVICES = (2, 13)  # of DLPack's device types: CUDA's own memory, and managed memory


def is_on_device(x: Any) -> bool:
    """Return whether `x`, which is of no library with a reader of its own, is an array on a CUDA device."""
    if isinstance(x, np.ndarray | np.generic | bytes | bool | int | float | complex):
        return False
    if hasattr(x, "__cuda_array_interface__"):
        return True
    return hasattr(x, "__dlpack_device__") and x.__dlpack_device__()[0] in CUDA_DEVICES


def type_name(x: Any) -> str:
    """Return what NumPy calls the element type of such an array, or its library if that is another name."""
    interface = getattr(x, "__cuda_array_interface__", None)
    if interface is not None and interface["typestr"][1] != "V":
        return str(np.dtype(interface["typestr"]).name)
    return str(x.dtype)


def shape_of(x: Any) -> tuple[int, ...]:
    """Return the shape of such an array."""
    interface = getattr(x, "__cuda_array_interface__", None)
    return tuple(x.shape if interface is None else interface["shape"])
