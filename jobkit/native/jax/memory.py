"""Read JAX's arrays where they lie, and make arrays of results."""

from __future__ import annotations

from typing import Any, NoReturn

import jax
import numpy as np

from jobkit.errors import complaint
from jobkit.native import arrays
from jobkit.native.arrays import Array


def array(x: Any) -> Array:
    """Return the memory of an array on the CPU as NumPy sees it, no copy.

    Raises:
        TypeError: It is a tracer, on another device, on several, or of a type that is not served.
    """
    if isinstance(x, jax.core.Tracer):
        wrong = "a tracer: it has no values while JAX traces a function"
        hint = "inside jit, grad and vmap call the functions of jobkit.native.jax"
        raise TypeError(complaint("array", wrong, got=type(x).__name__, expected="a jax.Array", hint=hint))
    devices = x.devices()
    if len(devices) > 1:
        hint = "pass a part that this rank has: x.addressable_data(0)"
        wrong = f"on {len(devices)} devices"
        raise TypeError(complaint("array", wrong, got=type(x).__name__, expected="one device", hint=hint))
    platform = next(iter(devices)).platform
    if platform != "cpu":
        hint = "x = jax.device_get(x), and jax.device_put(result) after"
        wrong = "in the memory of a device"
        raise TypeError(complaint("array", wrong, got=platform, expected="an array on the CPU", hint=hint))
    arrays.element_type(str(x.dtype))  # before NumPy fails with words of its own: keys of random numbers
    return np.asarray(x)


def is_on_device(x: Any) -> bool:
    """Return whether an array is in the memory of one CUDA device, and no tracer."""
    if isinstance(x, jax.core.Tracer) or len(x.devices()) != 1:
        return False
    return next(iter(x.devices())).platform in ("gpu", "cuda")


def taken_over(memory: Any) -> jax.Array:
    """Return an array of what offers DLPack, in its memory."""
    return jax.dlpack.from_dlpack(memory)


def has_gradient(_: Any) -> bool:
    """Return False: what JAX traces for gradients, `jobkit.native.jax` serves."""
    return False


def result(data: Array) -> jax.Array:
    """Return a result as an array of JAX, in the same memory where its alignment allows that."""
    if data.dtype.kind == "V":  # bfloat16, which NumPy does not export
        return jax.device_put(data, may_alias=True)
    return jax.dlpack.from_dlpack(data)


def writable(name: str, out: Any) -> NoReturn:
    """Raise TypeError: arrays of JAX are immutable."""
    wrong = "cannot be written: arrays of JAX are immutable"
    raise TypeError(complaint(f"{name}: out", wrong, got=type(out).__name__, expected="no out for them"))
