"""The engine's reductions (src/reduce.cc): 14 types, three operations, one fixed tree, one rounding."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from jobkit.native import arrays

core = pytest.importorskip("jobkit.native._core")

TYPES = [np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name) for name in arrays.DTYPES]
FLOATS = [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16), np.dtype(np.float32), np.dtype(np.float64)]
SUM, MAX, MIN = 0, 1, 2
NUMPY = {SUM: np.add, MAX: np.maximum, MIN: np.minimum}
CANONICAL = {"float16": 0x7E00, "bfloat16": 0x7FC0, "float32": 0x7FC00000, "float64": 0x7FF8000000000000}


@pytest.fixture(autouse=True, params=core.instruction_sets())
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every test runs with every instruction set that this processor has."""
    core.use_instruction_set(request.param)
    yield request.param
    core.use_instruction_set(core.instruction_sets()[0])


def reduce(op: int, left: Any, right: Any, out: Any = None) -> Any:
    out = np.empty_like(left) if out is None else out
    core.reduce(op, arrays.code_of(left.dtype), left, right, out, left.size)
    return out


def reduce_all(op: int, parts: list[Any], scale: float = 1.0, out: Any = None) -> Any:
    out = np.empty_like(parts[0]) if out is None else out
    core.reduce_all(op, arrays.code_of(parts[0].dtype), parts, out, parts[0].size, scale)
    return out


def bits(x: Any) -> Any:
    return x.view(f"u{x.dtype.itemsize}")


def every_float16(dtype: Any) -> Any:
    return np.arange(65536, dtype=np.uint16).view(dtype)


def random_bits(dtype: np.dtype[Any], n: int, seed: int) -> Any:
    """Values of every magnitude, with NaN, infinity, subnormal numbers and both zeros among them."""
    raw = np.frombuffer(np.random.default_rng(seed).bytes(n * dtype.itemsize), np.uint8)
    return (raw & 1).astype(np.bool_) if dtype == np.bool_ else raw.copy().view(dtype)


def fragments(dtype: np.dtype[Any], n: int, count: int, seed: int, shift: int) -> list[Any]:
    """The bytes of n parts, special values among them, each `shift` bytes after an aligned address."""
    parts = []
    for i in range(n):
        values = random_bits(dtype, count, seed + i)
        values[(seed + i) % 5 :: 5] = special_values(dtype)[np.arange(values.size)[(seed + i) % 5 :: 5] % 4]
        room = np.empty(64 + shift + values.nbytes, np.uint8)
        start = -room.ctypes.data % 64 + shift
        part = room[start : start + values.nbytes]
        part[:] = values.view(np.uint8)
        parts.append(part)
    return parts


def special_values(dtype: np.dtype[Any]) -> Any:
    """Four values at which instructions might differ from each other."""
    if dtype == np.bool_:
        return np.array([True, False, True, False])
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.array([limits.min, limits.max, 0, 1], dtype)
    if dtype.kind == "c":
        return np.array([complex(-0.0, 1), complex(np.nan, 0), complex(0.0, 1), complex(np.inf, -0.0)], dtype)
    return np.array([-0.0, np.inf, np.nan, 0.0], dtype)


def tree(parts: list[Any]) -> Any:
    """The fixed tree of native.md in NumPy: extra ranks fold onto a partner, then distances 1, 2, 4."""
    p = 1 << (len(parts).bit_length() - 1)
    level = [parts[i] + parts[p + i] if p + i < len(parts) else parts[i] for i in range(p)]
    while len(level) > 1:
        level = [level[i] + level[i + 1] for i in range(0, len(level), 2)]
    return level[0]


@pytest.mark.parametrize("op", [SUM, MAX, MIN], ids=["sum", "max", "min"])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_two_operands_agree_with_numpy_for_any_bits(dtype: Any, op: int) -> None:
    left, right = random_bits(dtype, 10_000, 1), random_bits(dtype, 10_000, 2)
    found = reduce(op, left, right)
    with np.errstate(all="ignore"):
        if op == SUM and dtype.itemsize == 2 and dtype in FLOATS:
            expected = (left.astype(np.float32) + right.astype(np.float32)).astype(dtype)
        else:
            expected = NUMPY[op](left, right)
        is_number = expected == expected
        np.testing.assert_array_equal(found == found, is_number)
    np.testing.assert_array_equal(found[is_number], expected[is_number])


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
def test_every_16_bit_number_survives_widening_and_rounding(dtype: Any) -> None:
    x = every_float16(dtype)
    found = reduce(SUM, x, np.full_like(x, -0.0))
    is_nan = (bits(x) & 0x7FFF) > bits(np.array(np.inf, x.dtype))
    np.testing.assert_array_equal(bits(found)[~is_nan], bits(x)[~is_nan])
    assert set(bits(found)[is_nan].tolist()) == {CANONICAL[x.dtype.name]}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("op", [SUM, MAX, MIN], ids=["sum", "max", "min"])
def test_a_nan_wins_from_either_side_and_is_the_canonical_one(dtype: Any, op: int) -> None:
    odd = bits(np.full(4, np.nan, dtype)) | 1
    nan, one = odd.view(dtype), np.ones(4, dtype)
    for left, right in ((nan, one), (one, nan), (-nan, nan)):
        assert set(bits(reduce(op, left, right)).tolist()) == {CANONICAL[dtype.name]}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_plus_zero_is_above_minus_zero(dtype: Any) -> None:
    plus, minus = np.zeros(3, dtype), -np.zeros(3, dtype)
    for left, right in ((plus, minus), (minus, plus)):
        assert not np.signbit(reduce(MAX, left, right)).any()
        assert np.signbit(reduce(MIN, left, right)).all()


def test_complex_numbers_order_by_real_then_imaginary_part_and_nan_wins() -> None:
    values = [complex(a, b) for a, b in itertools.product([-1, -0.0, 0.0, 2, np.inf], repeat=2)]
    left, right = np.array(list(itertools.product(values, repeat=2)), np.complex64).T.copy()
    for op in (MAX, MIN):
        found = reduce(op, left, right)
        np.testing.assert_array_equal(found, NUMPY[op](left, right))
        np.testing.assert_array_equal(bits(found), bits(reduce(op, right, left)))
    for nan in (complex(np.nan, 1), complex(1, np.nan)):
        odd = np.full(2, nan, np.complex64)
        found = reduce(MAX, odd, np.zeros(2, np.complex64))
        assert np.isnan(found.real).all()
        assert np.isnan(found.imag).all()


def test_bool_sum_and_max_are_or_and_min_is_and() -> None:
    left, right = np.array([0, 0, 1, 1], bool), np.array([0, 1, 0, 1], bool)
    for op, expected in ((SUM, left | right), (MAX, left | right), (MIN, left & right)):
        np.testing.assert_array_equal(reduce(op, left, right), expected)


def test_integers_wrap() -> None:
    assert reduce_all(SUM, [np.array([100], np.int8)] * 3).tolist() == [44]
    assert reduce_all(SUM, [np.array([2**63], np.uint64)] * 2).tolist() == [0]
    assert reduce_all(SUM, [np.array([2**31 - 1, -(2**31)], np.int32)] * 2).tolist() == [-2, 0]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17])
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_all_parts_are_summed_in_the_fixed_tree_to_the_last_bit(dtype: Any, n: int) -> None:
    rng = np.random.default_rng(n)
    parts = [(rng.standard_normal(5000) * 10.0 ** rng.integers(-8, 8, 5000)).astype(dtype) for _ in range(n)]
    np.testing.assert_array_equal(reduce_all(SUM, parts), tree(parts))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("scale", [1.0, 0.5, 1 / 3])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
def test_16_bit_sums_are_accumulated_in_float32_and_rounded_once(dtype: Any, n: int, scale: float) -> None:
    rng = np.random.default_rng(n)
    parts = [rng.standard_normal(20_000).astype(dtype) for _ in range(n)]
    total = tree([part.astype(np.float32) for part in parts])
    expected = total if scale == 1.0 else (total.astype(np.float64) * scale).astype(np.float32)
    np.testing.assert_array_equal(bits(reduce_all(SUM, parts, scale)), bits(expected.astype(dtype)))


def test_a_sum_that_overflows_float16_on_the_way_comes_back_by_its_scale() -> None:
    parts = [np.full(3, 60000, np.float16)] * 4
    assert reduce_all(SUM, parts, 0.25).tolist() == [60000] * 3


@pytest.mark.parametrize("dtype", [*FLOATS, np.dtype(np.complex64)], ids=str)
def test_a_mean_of_equal_values_is_that_value(dtype: Any) -> None:
    parts = [np.array([1, -2, 3], dtype)] * 3
    np.testing.assert_array_equal(reduce_all(SUM, parts, 1 / 3), parts[0])


@pytest.mark.parametrize("dtype", [np.bool_, np.int32, np.uint8], ids=["bool", "int32", "uint8"])
def test_integers_are_not_scaled(dtype: Any) -> None:
    with pytest.raises(ValueError, match="only floating and complex types are scaled"):
        reduce_all(SUM, [np.ones(2, dtype)] * 2, 0.5)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_the_result_may_lie_over_any_part(dtype: Any, n: int) -> None:
    parts = [random_bits(dtype, 9000, seed) for seed in range(n)]
    expected = {op: reduce_all(op, parts) for op in (SUM, MAX, MIN)}
    for op, position in itertools.product(expected, range(n)):
        fresh = [part.copy() for part in parts]
        reduce_all(op, fresh, out=fresh[position])
        np.testing.assert_array_equal(bits_of_any(fresh[position]), bits_of_any(expected[op]))


def test_two_operands_may_be_reduced_in_place_on_either_side() -> None:
    left, right = np.arange(1000.0), np.arange(1000.0)[::-1].copy()
    for position in range(2):
        operands = [left.copy(), right.copy()]
        reduce(SUM, *operands, out=operands[position])
        np.testing.assert_array_equal(operands[position], left + right)


def bits_of_any(x: Any) -> Any:
    return x.view(np.uint8)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([SUM, MAX, MIN]),
    st.integers(1, 9),
    npst.array_shapes(max_dims=1, min_side=0, max_side=70),
    st.sampled_from(["uint8", "int16", "int64", "uint32"]),
    st.integers(0, 2**32),
)
def test_integers_agree_with_numpy_for_any_length_and_number_of_parts(
    op: int, n: int, shape: tuple[int, ...], dtype: str, seed: int
) -> None:
    parts = [random_bits(np.dtype(dtype), shape[0], seed + i) for i in range(n)]
    expected = functools.reduce(NUMPY[op], parts)
    np.testing.assert_array_equal(reduce_all(op, parts), expected)


def test_blocks_leave_no_seam() -> None:
    for count in (4095, 4096, 4097, 8192, 12_289):
        parts = [np.full(count, i + 1, np.float32) for i in range(3)]
        assert set(reduce_all(SUM, parts).tolist()) == {6.0}


def all_bits(dtype: Any, op: int, parts: list[Any], count: int, scale: float, nontemporal: bool) -> Any:
    out = np.full_like(parts[0], 0x55)
    core.reduce_all(op, arrays.code_of(np.dtype(dtype)), parts, out, count, scale, nontemporal)
    return out


@pytest.mark.parametrize("op", [SUM, MAX, MIN], ids=["sum", "max", "min"])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_every_instruction_set_gives_the_bits_of_the_portable_one(
    dtype: Any, op: int, instruction_set: str
) -> None:
    """For all remainders of a vector, at addresses of every kind, with and without the cache."""
    lane = 64 // dtype.itemsize
    counts = [*range(2 * lane + 2), 5 * lane + 1]
    for n, shift in ((1, 0), (2, 0), (2, 1), (2, dtype.itemsize), (3, 3), (8, 4), (11, 1)):
        for count in counts if n == 2 else counts[:: 1 + lane // 8]:
            parts = fragments(dtype, n, count, seed=count, shift=shift)
            for scale, nontemporal in ((1.0, False), (1.0, True), (1 / 3, True)):
                if scale != 1.0 and (op != SUM or dtype.kind in "biu"):
                    continue
                core.use_instruction_set(instruction_set)
                found = all_bits(dtype, op, parts, count, scale, nontemporal)
                core.use_instruction_set("portable")
                expected = all_bits(dtype, op, parts, count, scale, nontemporal=False)
                np.testing.assert_array_equal(found, expected, f"{n} parts, {count} elements, {shift=}")


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
def test_every_float32_near_a_tie_is_rounded_as_numpy_does(dtype: Any) -> None:
    """Sums whose last bits decide: two 16-bit numbers, one far smaller than the other."""
    large, small = every_float16(dtype), np.roll(every_float16(dtype), 0x1234)
    with np.errstate(all="ignore"):
        expected = (large.astype(np.float32) + small.astype(np.float32)).astype(dtype)
        found = reduce(SUM, large, small)
        is_number = expected == expected
    np.testing.assert_array_equal(bits(found)[is_number], bits(expected)[is_number])
    assert set(bits(found)[~is_number].tolist()) <= {CANONICAL[large.dtype.name]}


@pytest.mark.parametrize("n", [9, 12, 16, 31, 64, 100])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64], ids=str)
def test_many_parts_are_summed_in_the_fixed_tree(dtype: Any, n: int) -> None:
    rng = np.random.default_rng(n)
    parts = [rng.standard_normal(333).astype(dtype) for _ in range(n)]
    wide = np.float32 if parts[0].itemsize == 2 else np.float64
    expected = tree([part.astype(wide) for part in parts]).astype(dtype)
    np.testing.assert_array_equal(bits(reduce_all(SUM, parts)), bits(expected))


def test_a_copy_is_a_copy_for_any_length_and_place() -> None:
    source = np.arange(1000, dtype=np.uint16).view(np.uint8)
    for begin, n, nontemporal in itertools.product(range(0, 65, 13), [*range(70), 640, 1001], [False, True]):
        out = np.full(2000, 0x55, np.uint8)
        core.copy(out[begin:], source[begin // 2 :], n, nontemporal)
        np.testing.assert_array_equal(out[begin : begin + n], source[begin // 2 : begin // 2 + n])
        assert set(out[:begin].tolist() + out[begin + n :].tolist()) == {0x55}


def test_an_unknown_instruction_set_is_refused_with_the_known_ones() -> None:
    known = ", ".join(core.instruction_sets())
    with pytest.raises(ValueError, match=f"got 'mmx', expected one of {known}"):
        core.use_instruction_set("mmx")


def test_nothing_at_all_is_reduced_to_nothing() -> None:
    assert reduce_all(SUM, [np.empty(0, np.float32)] * 2).size == 0
    assert reduce(MAX, np.empty(0), np.empty(0)).size == 0


def test_codes_that_mean_nothing_are_refused() -> None:
    x = np.zeros(1)
    for call in (lambda: core.reduce(3, 12, x, x, x, 1), lambda: core.reduce(0, 14, x, x, x, 1)):
        with pytest.raises(ValueError, match="not a"):
            call()
    with pytest.raises(ValueError, match="too small"):
        core.reduce(0, 12, x, x, x, 2)
