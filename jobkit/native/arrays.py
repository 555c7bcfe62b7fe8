"""Turn what a caller passes into memory for the engine, results back into the caller's kind."""

from __future__ import annotations

import array
import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np

from jobkit.errors import complaint
from jobkit.native import devices, outputs

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

KINDS = "an array of NumPy, MLX, PyTorch or JAX, a NumPy scalar, a Python number, or a buffer such as bytes"

MLX_OPERATIONS = "jobkit.native.mlx"
DEVICE_OPERATIONS = "jobkit.native.nccl.ops"  # the module that serves arrays in a device's memory

# Libraries whose arrays have a reader of their own, and what the class of those is called there. They are
# looked for only where the program has imported them.
_LIBRARIES = {"torch": "Tensor", "jax": "Array"}
_readers: dict[type, ModuleType | None] = dict.fromkeys((np.ndarray, bytes, bool, int, float, complex))

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


def target(name: str, source: Operand, shape: tuple[int, ...], out: Any, part: int = 0) -> Target:
    """Return memory for a result of `shape` with the element type of `source`, the caller's `out` if given.

    The operation is in place where `source` is `out` itself, or, of several parts of its size that `out` has,
    that of number `part`. `name` is the operation's, for errors.

    Raises:
        TypeError: `out` is of a kind that cannot be written.
        ValueError: `out` has another shape or type, or overlaps the input in part.
    """
    if out is None:
        data = outputs.empty(shape, source.data.dtype)
        return Target(data, lambda: source.finish(data))
    if out is source.data and out.shape == shape and out.flags.writeable:
        return Target(out, lambda: out)
    destination, returned = _writable(name, out)
    _check_out(name, source, shape, destination, part)
    if destination.dtype in _codes and destination.flags.carray:
        return Target(destination, returned)
    return _copied_target(destination, returned)


def empty(shape: tuple[int, ...], dtype: Any, like: Any = None) -> Operand:
    """Return fresh memory for what is received.

    `dtype` is as NumPy understands it, "bfloat16" too, or a type of PyTorch. It decides the kind of the
    result where it can, otherwise the array `like` does.
    """
    number = element_type(dtype)
    finish = _finish_like(dtype, like)
    return Operand(outputs.empty(shape, number), code_of(number), finish)


def element_type(dtype: Any) -> np.dtype[Any]:
    """Return the NumPy dtype, in native byte order, that `dtype` names.

    Raises:
        TypeError: It is not one of the 14 types.
    """
    if dtype is None:  # float64 to NumPy
        raise TypeError(complaint("dtype", "not given", expected=_one_of_the_types()))
    if _is_torch_type(dtype):
        dtype = str(dtype).removeprefix("torch.")
    if str(dtype) == "bfloat16" or getattr(dtype, "__name__", "") == "bfloat16":
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


def code_of_name(name: str) -> int:
    """Return the engine's number of the element type that NumPy calls so.

    Raises:
        TypeError: It is not one of the 14 types.
    """
    if name not in DTYPES:
        raise TypeError(complaint("dtype", "not supported", got=name, expected=_one_of_the_types()))
    return DTYPES.index(name)


def type_name(x: Any) -> str:
    """Return what NumPy calls the element type of an array of any kind. Copies nothing.

    Raises:
        TypeError: `x` is not an array of a kind that is served, or its elements are not of one of 14 types.
    """
    if is_mlx(x):
        return str(x.dtype).rpartition(".")[2].rstrip("_")  # "mlx.core.bool_"
    if reader(x) is None and devices.is_on_device(x):
        return DTYPES[code_of_name(devices.type_name(x))]
    if reader(x) is not None:
        name = str(x.dtype).rpartition(".")[2]  # "torch.float32"
        return name if name in DTYPES else DTYPES[code_of(element_type(name))]
    plain = isinstance(x, np.ndarray | np.generic) and not isinstance(x, np.ma.MaskedArray)
    return DTYPES[code_of(x.dtype) if plain else operand(x).code]


def shape_of(x: Any) -> tuple[int, ...]:
    """Return the shape of an array of any kind."""
    if reader(x) is None and devices.is_on_device(x):
        return devices.shape_of(x)
    has_shape = is_mlx(x) or isinstance(x, np.ndarray) or reader(x) is not None
    return tuple(x.shape) if has_shape else operand(x).data.shape


def is_floating(name: str) -> bool:
    """Return whether the type is floating or complex, so that it can be scaled."""
    return name in DTYPES[FIRST_FLOAT:]


def is_mlx(x: Any) -> bool:
    """Return whether `x` is an array, or a dtype, of MLX. Imports nothing."""
    return type(x).__module__ == "mlx.core"


def is_array(x: Any) -> bool:
    """Return whether `x` is an array already, of any library, and no number or buffer."""
    return isinstance(x, np.ndarray) or is_mlx(x) or reader(x) is not None or devices.is_on_device(x)


def is_on_device(x: Any) -> bool:
    """Return whether `x` is an array in the memory of a CUDA device. MLX keeps its arrays to itself."""
    library = reader(x)
    if library is not None:
        return bool(library.is_on_device(x))
    return not is_mlx(x) and devices.is_on_device(x)


def reader(x: Any) -> ModuleType | None:
    """Return the module that reads the arrays of `x`'s library and makes them; None for what needs none.

    It has `array`, `result` and `writable`, all on NumPy's view of the same memory, `has_gradient`, and for
    arrays on a CUDA device `is_on_device` and what `jobkit.native.nccl.memory` needs.
    """
    if type(x) in _readers:
        return _readers[type(x)]
    for library, name in _LIBRARIES.items():
        kind = getattr(sys.modules.get(library), name, None)
        if kind is not None and isinstance(x, kind):
            found = _readers[type(x)] = importlib.import_module(f"jobkit.native.{library}.memory")
            return found
    return None


def has_bridge(x: Any) -> bool:
    """Return whether `x` takes part in operations itself, lazily or with a gradient: see `bridge_of`."""
    if is_mlx(x) or is_on_device(x):
        return True
    library = reader(x)
    return library is not None and bool(library.has_gradient(x))


def bridge_of(x: Any) -> str:
    """Return the module whose operations take `x`, which has a bridge."""
    if is_mlx(x):
        return MLX_OPERATIONS
    library = reader(x)
    has_gradient = library is not None and library.has_gradient(x)
    return "jobkit.native.torch" if has_gradient else DEVICE_OPERATIONS


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
    code = _codes.get(x.dtype) or code_of(x.dtype)
    if type(x) is np.ndarray and x.dtype in _codes and x.flags.carray:
        return Operand(x, code, finish)
    data = np.require(x, x.dtype.newbyteorder("="), ["C", "A", "E"])
    return Operand(data.reshape(x.shape), code, finish)


def _other_operand(x: Any) -> Operand:
    library = reader(x)
    if library is not None:
        return _host_operand(library.array(x), library.result)
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
    view = _view(x)
    if view is None:
        raise TypeError(complaint("array", "not an array", got=_type_name(x), expected=KINDS))
    return _host_operand(view, _as_is)


def _view(x: Any) -> Array | None:
    """Return what `x` exports as a buffer, None where it exports none."""
    try:
        return np.asarray(memoryview(x))
    except TypeError:
        return None


def _type_name(x: Any) -> str:
    return f"{type(x).__module__}.{type(x).__qualname__}"


# --- kinds that are written ---


def _writable(name: str, out: Any) -> tuple[Array, Callable[[], Any]]:
    """Return `out` as an array of its own memory, and what the caller gets once it is written."""
    library = reader(out)
    if library is not None:
        found: tuple[Array, Callable[[], Any]] = library.writable(name, out)
        return found
    is_immutable = isinstance(out, np.generic | np.ma.MaskedArray) or is_mlx(out)
    data = None if is_immutable else out if isinstance(out, np.ndarray) else _view(out)
    if data is None or not data.flags.writeable:
        where, expected = f"{name}: out", "an array of NumPy or PyTorch, or a buffer that is not read-only"
        raise TypeError(complaint(where, "cannot be written", got=_type_name(out), expected=expected))
    return data, lambda: out


def _check_out(name: str, source: Operand, shape: tuple[int, ...], out: Array, part: int) -> None:
    where = f"{name}: out"
    if out.shape != shape:
        raise ValueError(complaint(where, "wrong shape", got=out.shape, expected=str(shape)))
    if out.dtype != source.data.dtype and out.dtype.newbyteorder("=") != source.data.dtype:
        raise ValueError(complaint(where, "wrong type", got=str(out.dtype), expected=str(source.data.dtype)))
    if not np.may_share_memory(source.data, out) or _is_in_place(source.data, out, part):
        return
    if np.shares_memory(source.data, out):
        raise ValueError(
            complaint(where, "overlaps the input in part", expected="the input itself, or other memory")
        )


def _is_in_place(source: Array, out: Array, part: int) -> bool:
    distance = source.__array_interface__["data"][0] - out.__array_interface__["data"][0]
    if source.shape == out.shape:
        return distance == 0 and source.strides == out.strides
    return out.flags.c_contiguous and out.size > source.size and distance == part * source.nbytes


def _copied_target(destination: Array, returned: Callable[[], Any]) -> Target:
    data = np.empty(destination.shape, destination.dtype.newbyteorder("="))

    def result() -> Any:
        destination[...] = data
        return returned()

    return Target(data, result)


# --- types ---


def _is_torch_type(dtype: Any) -> bool:
    return type(dtype).__module__ == "torch"


def _finish_like(dtype: Any, like: Any) -> Finish:
    """Return what makes a result of the kind that `dtype`, or else `like`, asks for."""
    if _is_torch_type(dtype):
        return cast(Finish, importlib.import_module("jobkit.native.torch.memory").result)
    return _as_is if like is None else operand(like).finish


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
