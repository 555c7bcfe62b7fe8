"""What callers may pass: kinds, element types, layouts, and what comes back."""

from __future__ import annotations

import array
import ctypes
import mmap
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as npst

from jobkit.native import arrays

TYPES = [ml_dtypes.bfloat16 if name == "bfloat16" else np.dtype(name) for name in arrays.DTYPES]


def kind(x: Any) -> str:
    return type(x).__name__


def round_trip(x: Any) -> Any:
    """Return what a caller gets back from an operation that changes nothing."""
    source = arrays.operand(x)
    target = arrays.target("copy", source, source.data.shape, None)
    np.copyto(target.data, source.data)
    return target.result()


def test_the_codes_are_those_of_the_engines_header(repository: Path) -> None:
    header = (repository / "jobkit/native/src/dtype.h").read_text()
    found = {int(code): name.lower() for name, code in re.findall(r"k([A-Z]\w+) = (\d+),", header)}
    assert tuple(found[code] for code in range(14)) == arrays.DTYPES


def test_the_sizes_are_numpys() -> None:
    assert tuple(np.dtype(dtype).itemsize for dtype in TYPES) == arrays.ITEM_BYTES


def test_type_and_shape_are_known_without_a_copy() -> None:
    x = np.zeros((1000, 1000), ">f8").T
    assert (arrays.type_name(x), arrays.shape_of(x)) == ("float64", (1000, 1000))
    assert (arrays.type_name(3), arrays.shape_of(3)) == ("int64", ())
    assert (arrays.type_name(b"ab"), arrays.shape_of(b"ab")) == ("uint8", (2,))
    assert (arrays.type_name(np.float16(1)), arrays.shape_of(np.float16(1))) == ("float16", ())


@pytest.mark.parametrize("dtype", TYPES, ids=arrays.DTYPES)
def test_every_element_type_is_served_without_a_copy(dtype: Any) -> None:
    x = np.zeros((2, 3), dtype)
    source = arrays.operand(x)
    assert source.data is x
    assert arrays.DTYPES[source.code] == x.dtype.name
    assert round_trip(x).dtype == x.dtype


@pytest.mark.parametrize("dtype", ["float128", "complex128", "datetime64[s]", "O", "S3", "U2", "i4,f4"])
def test_another_element_type_is_refused_with_the_list_of_the_14(dtype: str) -> None:
    with pytest.raises(TypeError, match="dtype: not supported") as caught:
        arrays.operand(np.zeros(2, dtype))
    assert all(name in str(caught.value) for name in arrays.DTYPES)


def test_other_types_of_ml_dtypes_are_refused() -> None:
    with pytest.raises(TypeError, match="float8_e4m3"):
        arrays.operand(np.zeros(2, ml_dtypes.float8_e4m3fn))


@pytest.mark.parametrize(
    "x",
    [
        np.arange(12).reshape(3, 4).T,
        np.arange(24)[::2],
        np.arange(24)[::-1],
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.broadcast_to(np.float32(3), (2, 2)),
        np.arange(8, dtype=">i4").reshape(2, 4),
        np.array(7, ">f8"),
        np.frombuffer(bytes(range(1, 10)), np.uint8)[1:].view(np.uint16),
        np.arange(6).reshape(2, 3).view(np.matrix) if hasattr(np, "matrix") else np.arange(6),
    ],
    ids=[
        "transposed",
        "strided",
        "reversed",
        "fortran",
        "broadcast",
        "big",
        "big 0-d",
        "unaligned",
        "subclass",
    ],
)
def test_any_layout_is_read_in_c_order_and_native_bytes(x: Any) -> None:
    data = arrays.operand(x).data
    assert data.flags.c_contiguous
    assert data.flags.aligned
    assert data.dtype.isnative
    np.testing.assert_array_equal(data, np.asarray(x))


def test_read_only_memory_is_read_where_it_is() -> None:
    x = np.arange(3)
    x.flags.writeable = False
    assert np.shares_memory(arrays.operand(x).data, x)


@given(
    npst.arrays(
        npst.floating_dtypes(sizes=(16, 32, 64), endianness="?"), npst.array_shapes(min_dims=0, min_side=0)
    )
)
def test_shape_and_values_survive(x: Any) -> None:
    again = round_trip(x)
    assert again.shape == x.shape
    np.testing.assert_array_equal(again, x)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (True, np.array(True)),
        (3, np.array(3)),
        (2**63, np.array(2**63, np.uint64)),
        (0.5, np.array(0.5)),
        (1j, np.array(1j, np.complex64)),
    ],
    ids=str,
)
def test_a_python_number_becomes_the_default_array_of_its_kind(x: Any, expected: Any) -> None:
    again = round_trip(x)
    assert (type(again), again.dtype, again.shape) == (np.ndarray, expected.dtype, ())
    assert again == expected


def test_an_integer_beyond_64_bits_is_refused() -> None:
    with pytest.raises(TypeError, match="does not fit 64 bits"):
        arrays.operand(2**64)


@pytest.mark.parametrize("dtype", TYPES, ids=arrays.DTYPES)
def test_a_numpy_scalar_stays_one(dtype: Any) -> None:
    x = np.ones((), dtype)[()]
    assert type(round_trip(x)) is type(x)


@pytest.mark.parametrize(
    "x", [b"abc", bytearray(b"abc"), array.array("d", [1, 2]), array.array("h", [3])], ids=str
)
def test_a_buffer_comes_back_as_its_own_kind(x: Any) -> None:
    again = round_trip(x)
    assert type(again) is type(x)
    assert again == x


def test_a_memoryview_keeps_format_and_shape() -> None:
    x = memoryview(np.arange(6, dtype=np.int16).reshape(2, 3))
    again = round_trip(x)
    assert isinstance(again, memoryview)
    assert (again.format, again.shape, again.tolist()) == (x.format, x.shape, x.tolist())


def test_any_other_buffer_comes_back_as_a_numpy_array() -> None:
    with mmap.mmap(-1, 8) as memory:
        memory[:] = b"abcdefgh"
        assert round_trip(memory).tobytes() == b"abcdefgh"
    numbers = (ctypes.c_float * 3)(1, 2, 3)
    assert round_trip(numbers).dtype == np.float32
    assert round_trip(numbers).tolist() == [1, 2, 3]


@pytest.mark.parametrize("x", [None, [1, 2], (1,), "text", {1}, object()], ids=kind)
def test_what_is_no_array_is_refused_with_the_kinds_that_are(x: Any) -> None:
    with pytest.raises(
        TypeError, match=r"array: not an array, got '.*', expected an array of NumPy, MLX, PyTorch or JAX"
    ):
        arrays.operand(x)


def test_a_masked_array_is_refused_rather_than_summed_without_its_mask() -> None:
    with pytest.raises(TypeError, match="masked"):
        arrays.operand(np.ma.masked_array([1, 2], mask=[0, 1]))


def test_a_class_of_another_library_s_name_is_not_taken_for_an_array_of_it() -> None:
    tensor = type("Tensor", (), {"__module__": "torch"})()
    with pytest.raises(TypeError, match="not an array"):
        arrays.operand(tensor)


def test_arrays_are_told_from_numbers_and_buffers() -> None:
    assert arrays.is_array(np.zeros(()))
    assert not any(arrays.is_array(x) for x in (1.0, np.float32(1), b"ab", [1.0]))


def test_other_libraries_are_used_only_where_the_program_has_imported_them() -> None:
    program = """
import sys, numpy
from jobkit import native
native.all_sum(numpy.ones(3)), native.all_sum(1.0), native.all_sum(b"ab")
assert not {"torch", "jax", "mlx"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_without_ml_dtypes_the_name_bfloat16_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(TypeError, match="needs the package ml_dtypes"):
        arrays.element_type("bfloat16")


def test_an_array_of_mlx_is_known_by_the_name_of_its_module() -> None:
    module = ModuleType("mlx.core")
    kind = type("array", (), {"__module__": module.__name__})
    assert arrays.is_mlx(kind())
    assert not arrays.is_mlx(np.zeros(1))


# --- out= ---


def target(x: Any, out: Any) -> arrays.Target:
    source = arrays.operand(x)
    return arrays.target("all_sum", source, source.data.shape, out)


def test_out_is_written_where_it_is_and_returned() -> None:
    x, out = np.arange(4.0), np.empty(4)
    made = target(x, out)
    assert made.data is out
    assert made.result() is out


def test_out_may_be_the_input_itself() -> None:
    x = np.arange(4.0)
    assert target(x, x).data is x
    assert target(x, x[:]).data.base is x


@pytest.mark.parametrize("overlapping", [slice(1, 5), slice(3, 7)])
def test_out_that_overlaps_the_input_in_part_is_refused(overlapping: slice) -> None:
    memory = np.arange(8.0)
    with pytest.raises(ValueError, match="overlaps the input in part"):
        target(memory[:4], memory[overlapping])


def test_out_that_lies_between_the_inputs_elements_is_not_an_overlap() -> None:
    memory = np.arange(8.0)
    made = target(memory[::2], memory[1::2])
    made.data[:] = 9
    made.result()
    assert memory.tolist() == [0, 9, 2, 9, 4, 9, 6, 9]


def test_out_in_another_layout_gets_the_values_after_the_operation() -> None:
    out = np.zeros((3, 2), ">f8").T
    made = target(np.ones((2, 3)), out)
    made.data[:] = [[1, 2, 3], [4, 5, 6]]
    assert made.result() is out
    assert out.tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("out", "wrong"),
    [
        (np.zeros(3), "all_sum: out: wrong shape, got (3,), expected (4,)"),
        (np.zeros((4, 1)), "wrong shape"),
        (np.zeros(4, np.float32), "wrong type, got 'float32', expected float64"),
    ],
    ids=["shorter", "more dimensions", "type"],
)
def test_out_of_another_shape_or_type_is_refused(out: Any, wrong: str) -> None:
    with pytest.raises(ValueError, match=re.escape(wrong)):
        target(np.arange(4.0), out)


@pytest.mark.parametrize(
    "out", [b"1234", 1.0, np.float64(1), [0.0] * 4, "text"], ids=lambda x: type(x).__name__
)
def test_out_of_a_kind_that_cannot_be_written_is_refused(out: Any) -> None:
    with pytest.raises(TypeError, match="all_sum: out: cannot be written"):
        target(np.arange(4.0), out)


def test_an_immutable_array_is_no_out_although_it_exports_its_memory() -> None:
    mx = pytest.importorskip("mlx.core")
    with pytest.raises(TypeError, match=r"cannot be written, got 'mlx\.core\.array'"):
        target(np.zeros(4, np.float32), mx.zeros(4))


def test_read_only_out_is_refused() -> None:
    out = np.zeros(4)
    out.flags.writeable = False
    with pytest.raises(TypeError, match="cannot be written"):
        target(np.arange(4.0), out)
    with pytest.raises(TypeError, match="cannot be written"):
        target(b"1234", memoryview(b"1234"))


@pytest.mark.parametrize(
    "out", [bytearray(4), memoryview(bytearray(4)), array.array("B", bytes(4))], ids=kind
)
def test_a_writable_buffer_is_written_where_it_is(out: Any) -> None:
    made = target(b"abcd", out)
    made.data[:] = [1, 2, 3, 4]
    assert made.result() is out
    assert bytes(out) == b"\1\2\3\4"


# --- received ---


@pytest.mark.parametrize("name", arrays.DTYPES)
def test_what_is_received_may_be_named(name: str) -> None:
    made = arrays.empty((2, 3), name)
    assert made.data.shape == (2, 3)
    assert made.data.dtype.name == name


@pytest.mark.parametrize("dtype", ["float31", "complex128", object, 3])
def test_what_cannot_be_received_is_refused(dtype: Any) -> None:
    with pytest.raises(TypeError, match="dtype: "):
        arrays.element_type(dtype)
