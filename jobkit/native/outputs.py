"""Memory for results."""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np

KEPT_FROM_BYTES = 2**20  # the engine keeps the memory of arrays of this size, and gives it out again


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return what `np.empty` does; a large array in memory that the engine has kept from an earlier one.

    Fresh memory costs a page fault for every page. `result.base` owns such memory.
    """
    if math.prod(shape) * dtype.itemsize < KEPT_FROM_BYTES:
        return np.empty(shape, dtype)
    return cast("np.ndarray[Any, Any]", _large()(shape, dtype))


@functools.cache
def _large() -> Callable[..., Any]:
    """Return the engine's function; NumPy's where there is no engine, and so nobody to communicate with."""
    try:
        function: Callable[..., Any] = importlib.import_module("jobkit.native._core").empty
    except ImportError:
        return np.empty
    return function
