"""Turn what a caller passes into memory for the engine, results back into the caller's kind."""

from __future__ import annotations

import array
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np

from jobkit.errors import complaint

# The element types of the engine in the order of their codes (src/dtype.h).
DTYPES = (
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "complex64",
)
BFLOAT16 = DTYPES.index("bfloat16")
ITEM_BYTES = (1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 2, 4, 8, 8)  # in the same order
FIRST_FLOAT = DTYPES.index("float16")

_codes = {np.dtype(name): code for code, name in enumerate(DTYPES) if code != BFLOAT16}

KINDS = "a NumPy array or scalar, an MLX array, a Python number, or a buffer such as bytes"

OTHERS = ("torch", "jax", "jaxlib")  # libraries whose arrays are refused, although some export a buffer

Array: TypeAlias = "np.ndarray[Any, Any]"
Finish: TypeAlias = Callable[[Array], Any]


class Operand(NamedTuple):
    """What an operation reads.

    Attributes:
        data: C-contiguous, aligned, in native byte order. It is the caller's own memory where that is so
            already.
        code: The engine's number of its element type.
        finish: Turns a result into the caller's kind.
    """

    data: Array
    code: int
    finish: Finish


class Target(NamedTuple):
    """Where an operation writes.

    Attributes:
        data: C-contiguous and writable.
        result: Called after the operation, returns what the caller gets.
    """

    data: Array
    result: Callable[[], Any]


def operand(x: Any) -> Operand:
    """Return `x` as the engine reads it.

    Raises:
        TypeError: `x` is not an array of a kind that is served, or its elements are not of one of 14 types.
    """
    if type(x) is np.ndarray:
        code = _codes.get(x.dtype)
        if code is not None and x.flags.carray:
            return Operand(x, code, _as_is)
        return _host_operand(x, _as_is)
    return _other_operand(x)


def target(name: str, source: Operand, shape: tuple[int, ...], out: Any) -> Target:
    """Return memory for a result of `shape` with the element type of `source`, the caller's `out` if given.

    `out` may be `source` itself, where their shapes agree: the operation is in place then. `name` is the
    operation's, for errors.

    Raises:
        TypeError: `out` is of a kind that cannot be written.
        ValueError: `out` has another shape or type, or overlaps the input in part.
    """
    if out is None:
        data = np.empty(shape, source.data.dtype)
        return Target(data, lambda: source.finish(data))
    if out is source.data and out.shape == shape and out.flags.writeable:
        return Target(out, lambda: out)
    destination = _writable(name, out)
    _check_out(name, source, shape, destination)
    if destination.flags.carray and destination.dtype.isnative:
        return Target(destination, lambda: out)
    return _copied_target(destination, out)


def empty(shape: tuple[int, ...], dtype: Any) -> Operand:
    """Return fresh memory for what is received, with `dtype` as NumPy understands it, "bfloat16" too."""
    number = element_type(dtype)
    return Operand(np.empty(shape, number), code_of(number), _as_is)


def element_type(dtype: Any) -> np.dtype[Any]:
    """Return the NumPy dtype, in native byte order, that `dtype` names.

    Raises:
        TypeError: It is not one of the 14 types.
    """
    if dtype is None:  # float64 to NumPy
        raise TypeError(complaint("dtype", "not given", expected=_one_of_the_types()))
    if str(dtype) == "bfloat16":
        dtype = _bfloat16()
    try:
        number = np.dtype(dtype).newbyteorder("=")
    except TypeError:
        raise TypeError(complaint("dtype", "unknown", got=dtype, expected=_one_of_the_types())) from None
    code_of(number)
    return cast("np.dtype[Any]", number)


def code_of(dtype: np.dtype[Any]) -> int:
    """Return the engine's number of an element type.

    Raises:
        TypeError: It is not one of the 14 types.
    """
    code = _codes.get(dtype.newbyteorder("="))
    if code is None:
        if dtype.name != "bfloat16":
            raise TypeError(complaint("dtype", "not supported", got=str(dtype), expected=_one_of_the_types()))
        code = _codes[dtype] = BFLOAT16
    return code


def type_name(x: Any) -> str:
    """Return what NumPy calls the element type of an array of any kind. Copies nothing.

    Raises:
        TypeError: `x` is not an array of a kind that is served, or its elements are not of one of 14 types.
    """
    if is_mlx(x):
        return str(x.dtype).rpartition(".")[2].rstrip("_")  # "mlx.core.bool_"
    plain = isinstance(x, np.ndarray | np.generic) and not isinstance(x, np.ma.MaskedArray)
    return DTYPES[code_of(x.dtype) if plain else operand(x).code]


def shape_of(x: Any) -> tuple[int, ...]:
    """Return the shape of an array of any kind."""
    return tuple(x.shape) if is_mlx(x) or isinstance(x, np.ndarray) else operand(x).data.shape


def is_floating(name: str) -> bool:
    """Return whether the type is floating or complex, so that it can be scaled."""
    return name in DTYPES[FIRST_FLOAT:]


def is_mlx(x: Any) -> bool:
    """Return whether `x` is an array, or a dtype, of MLX. Imports nothing."""
    return type(x).__module__ == "mlx.core"


def bytes_of(data: Array) -> memoryview:
    """Return the bytes of a contiguous array."""
    return data.reshape(-1).view(np.uint8).data


# --- kinds that are read ---


def _as_is(result: Array) -> Any:
    return result


def _as_scalar(result: Array) -> Any:
    return result[()] if result.ndim == 0 else result


def _as_typecode(typecode: str) -> Finish:
    return lambda result: array.array(typecode, result.tobytes())


def _host_operand(x: Array, finish: Finish) -> Operand:
    """Return any NumPy array as contiguous memory in native byte order, without a copy where possible."""
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(complaint("array", "masked", got=type(x).__name__, expected="a plain NumPy array"))
    code = code_of(x.dtype)
    if type(x) is np.ndarray and x.flags.carray and x.dtype.isnative:
        return Operand(x, code, finish)
    data = np.require(x, x.dtype.newbyteorder("="), ["C", "A", "E"])
    return Operand(data.reshape(x.shape), code, finish)


def _other_operand(x: Any) -> Operand:
    if isinstance(x, np.ndarray):
        return _host_operand(x, _as_is)
    if isinstance(x, np.generic):
        return _host_operand(np.asarray(x), _as_scalar)
    if isinstance(x, complex):  # before the others: complex128 is none of the types
        return _host_operand(np.asarray(x, np.complex64), _as_is)
    if isinstance(x, bool | int | float):
        return _host_operand(_number(x), _as_is)
    return _buffer_operand(x)


def _number(x: bool | int | float) -> Array:
    data = np.asarray(x)
    if data.dtype == object:
        raise TypeError(complaint("number", "does not fit 64 bits", got=x, expected="an int64 or uint64"))
    return data


def _buffer_operand(x: Any) -> Operand:
    if isinstance(x, bytes):
        return _host_operand(np.frombuffer(x, np.uint8), lambda result: result.tobytes())
    if isinstance(x, bytearray):
        return _host_operand(np.frombuffer(x, np.uint8), lambda result: bytearray(result.tobytes()))
    if isinstance(x, array.array):
        return _host_operand(np.asarray(x), _as_typecode(x.typecode))
    if isinstance(x, memoryview):
        return _host_operand(np.asarray(x), lambda result: result.data)
    view = None if _library(x) in OTHERS else _view(x)
    if view is None:
        raise TypeError(_unserved(x))
    return _host_operand(view, _as_is)


def _view(x: Any) -> Array | None:
    """Return what `x` exports as a buffer, None where it exports none."""
    try:
        return np.asarray(memoryview(x))
    except TypeError:
        return None


def _library(x: Any) -> str:
    return type(x).__module__.partition(".")[0]


def _unserved(x: Any) -> str:
    root = _library(x)
    if root in OTHERS:
        hint = (
            "pass it as a NumPy array: x.numpy()"
            if root == "torch"
            else "pass it as a NumPy array: np.asarray(x)"
        )
        wrong = "arrays of this library are not served in this version"
        return complaint("array", wrong, got=_type_name(x), expected=KINDS, hint=hint)
    return complaint("array", "not an array", got=_type_name(x), expected=KINDS)


def _type_name(x: Any) -> str:
    return f"{type(x).__module__}.{type(x).__qualname__}"


# --- kinds that are written ---


def _writable(name: str, out: Any) -> Array:
    """Return `out` as an array of its own memory."""
    is_immutable = isinstance(out, np.generic | np.ma.MaskedArray) or _library(out) in (*OTHERS, "mlx")
    data = None if is_immutable else out if isinstance(out, np.ndarray) else _view(out)
    if data is None or not data.flags.writeable:
        where, expected = f"{name}: out", "a NumPy array or a buffer that is not read-only"
        raise TypeError(complaint(where, "cannot be written", got=_type_name(out), expected=expected))
    return data


def _check_out(name: str, source: Operand, shape: tuple[int, ...], out: Array) -> None:
    where = f"{name}: out"
    if out.shape != shape:
        raise ValueError(complaint(where, "wrong shape", got=out.shape, expected=str(shape)))
    if out.dtype != source.data.dtype and out.dtype.newbyteorder("=") != source.data.dtype:
        raise ValueError(complaint(where, "wrong type", got=str(out.dtype), expected=str(source.data.dtype)))
    if not np.may_share_memory(source.data, out) or _is_same_memory(source.data, out):
        return
    if np.shares_memory(source.data, out):
        raise ValueError(
            complaint(where, "overlaps the input in part", expected="the input itself, or other memory")
        )


def _is_same_memory(left: Array, right: Array) -> bool:
    same = left.__array_interface__["data"][0] == right.__array_interface__["data"][0]
    return same and left.shape == right.shape and left.strides == right.strides


def _copied_target(destination: Array, out: Any) -> Target:
    data = np.empty(destination.shape, destination.dtype.newbyteorder("="))

    def result() -> Any:
        destination[...] = data
        return out

    return Target(data, result)


# --- types ---


def _bfloat16() -> Any:
    try:
        import ml_dtypes
    except ImportError:
        hint = "pip install ml_dtypes"
        raise TypeError(complaint("dtype", "bfloat16 needs the package ml_dtypes", hint=hint)) from None
    return ml_dtypes.bfloat16


def _one_of_the_types() -> str:
    return f"one of {', '.join(DTYPES)}"


if sys.byteorder != "little":
    raise ImportError("jobkit.native serves little-endian machines only")
