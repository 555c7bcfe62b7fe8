"""Every collective, element type, size and number of ranks against NumPy, to the same bits everywhere."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jobkit.native as dist
from jobkit.errors import BackendError
from jobkit.native import arrays
from jobkit.native.group import Group

pytest.importorskip("jobkit.native._core")

Run = Callable[..., list[Any]]

TYPES = [np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name) for name in arrays.DTYPES]
SIZES = [0, 1, 7, 10, 1024]
DIVIDED = ("all_to_all", "sum_scatter")
NUMPY = {"sum": np.add, "max": np.maximum, "min": np.minimum}


@functools.cache
def part(rank: int, dtype: Any, n: int) -> Any:
    """Rank's input: small whole numbers, whose sums are exact in every type and in any order."""
    rng = np.random.default_rng(1000 * rank + n)
    if dtype == np.bool_:
        return rng.integers(0, 2, n).astype(dtype)
    if dtype.kind == "c":
        return (rng.integers(-8, 8, n) + 1j * rng.integers(-8, 8, n)).astype(dtype)
    return rng.integers(0 if dtype.kind == "u" else -8, 8, n).astype(dtype)


def reduction(op: str, n_ranks: int, dtype: Any, n: int) -> Any:
    return functools.reduce(NUMPY[op], [part(rank, dtype, n) for rank in range(n_ranks)])


def same(found: Any, expected: Any) -> None:
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == np.ascontiguousarray(expected).tobytes()


def check_everything(group: Group, dtype: Any, n: int) -> None:
    """Call every collective with n elements per rank, or per pair of ranks."""
    rank, size = group.rank(), group.size()
    x, wide = part(rank, dtype, n), part(rank, dtype, n * size)
    own = slice(rank * n, (rank + 1) * n)
    joined = np.concatenate([part(r, dtype, n) for r in range(size)])
    root = size // 2
    for op in NUMPY:
        same(getattr(dist, f"all_{op}")(x, group=group), reduction(op, size, dtype, n))
        same(dist.sum_scatter(wide, op, group=group), reduction(op, size, dtype, n * size)[own])
    same(dist.all_gather(x, group=group), joined)
    same(dist.broadcast(x, root, group=group), part(root, dtype, n))
    same(
        dist.all_to_all(wide, group=group),
        np.concatenate([part(r, dtype, n * size)[own] for r in range(size)]),
    )
    gathered = dist.gather(x, root, group=group)
    if rank == root:
        same(gathered, joined)
    else:
        assert gathered is None
    same(dist.scatter(wide if rank == root else None, root, group=group), part(root, dtype, n * size)[own])
    left, right = (rank - 1) % size, (rank + 1) % size
    same(dist.sendrecv(x, right, left, group=group), part(left, dtype, n))


@pytest.mark.parametrize("n_ranks", [2, 3, 4, 5, 8])
def test_every_collective_agrees_with_numpy_for_every_type_and_size(run_ranks: Run, n_ranks: int) -> None:
    def program(group: Group) -> None:
        for dtype in TYPES:
            for n in SIZES:
                check_everything(group, dtype, n)
        dist.barrier(group=group)

    run_ranks(n_ranks, program)


@pytest.mark.parametrize("n_ranks", [2, 3])
def test_large_arrays_agree_with_numpy(run_ranks: Run, n_ranks: int) -> None:
    def program(group: Group) -> None:
        check_everything(group, np.dtype(np.float32), 2**18)
        for name in ("float32", "bfloat16", "int8", "complex64"):
            dtype = TYPES[arrays.DTYPES.index(name)]
            for op in NUMPY:
                found = getattr(dist, f"all_{op}")(part(group.rank(), dtype, 2**20), group=group)
                same(found, reduction(op, n_ranks, dtype, 2**20))

    run_ranks(n_ranks, program)


@pytest.mark.parametrize("n_ranks", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("n", [10, 100_003])
def test_sums_of_any_numbers_have_the_same_bits_on_every_rank_and_again(
    run_ranks: Run, n_ranks: int, n: int
) -> None:
    floats = [dtype for dtype in TYPES if dtype.kind in "fcV"]

    def numbers(rank: int, dtype: Any) -> Any:
        rng = np.random.default_rng(rank)
        return (rng.standard_normal(n) * 10.0 ** rng.integers(-3, 3, n)).astype(dtype)

    def program(group: Group) -> list[bytes]:
        return [dist.all_sum(numbers(group.rank(), dtype), group=group).tobytes() for dtype in floats]

    results = run_ranks(n_ranks, program)
    assert all(result == results[0] for result in results)
    assert run_ranks(n_ranks, program) == results
    for dtype, found in zip(floats, results[0], strict=True):
        wide = np.complex128 if dtype.kind == "c" else np.float64
        exact = functools.reduce(np.add, [numbers(rank, dtype).astype(wide) for rank in range(n_ranks)])
        size = functools.reduce(np.add, [abs(numbers(rank, dtype).astype(wide)) for rank in range(n_ranks)])
        error = abs(np.frombuffer(found, dtype).astype(wide) - exact) / size
        assert error.max() <= n_ranks * float(ml_dtypes.finfo(dtype).eps)


def tree(parts: list[Any]) -> Any:
    """The fixed tree of sums: ranks beyond a power of two fold onto a partner, then distances 1, 2, 4."""
    p = 1 << (len(parts).bit_length() - 1)
    level = [parts[i] + parts[p + i] if p + i < len(parts) else parts[i] for i in range(p)]
    while len(level) > 1:
        level = [level[i] + level[i + 1] for i in range(0, len(level), 2)]
    return level[0]


@pytest.mark.parametrize("n_ranks", [2, 3, 5])
@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_sums_follow_the_fixed_tree_and_are_rounded_once(run_ranks: Run, name: str, n_ranks: int) -> None:
    dtype = TYPES[arrays.DTYPES.index(name)]
    inner = np.float32 if dtype.itemsize == 2 else dtype

    def numbers(rank: int, n: int) -> Any:
        return np.random.default_rng(rank + n).standard_normal(n).astype(dtype)

    def program(group: Group) -> None:
        for n in (5, 1000, 100_003):
            expected = tree([numbers(rank, n).astype(inner) for rank in range(n_ranks)]).astype(dtype)
            same(dist.all_sum(numbers(group.rank(), n), group=group), expected)
            wide = np.concatenate([numbers(group.rank(), n)] * n_ranks)
            same(dist.sum_scatter(wide, group=group), expected)

    run_ranks(n_ranks, program)


def test_nan_and_signed_zeros_do_not_depend_on_who_holds_them(run_ranks: Run) -> None:
    def program(group: Group) -> tuple[Any, ...]:
        zeros = np.full(3, -0.0, np.float32)
        zeros[group.rank()] = 0.0
        nan = np.full(3, 1.0, np.float32)
        nan[group.rank()] = np.nan
        return (
            np.signbit(dist.all_max(zeros, group=group)).any(),
            np.signbit(dist.all_min(zeros, group=group)).all(),
            np.isnan(dist.all_max(nan, group=group)).all(),
            np.isnan(dist.all_min(nan, group=group)).all(),
        )

    assert set(run_ranks(3, program)) == {(False, True, True, True)}


def test_a_scale_is_applied_before_the_one_rounding(run_ranks: Run) -> None:
    def program(group: Group) -> list[float]:
        return dist.all_sum(np.full(4, 60000, np.float16), group=group, scale=1 / 4).tolist()

    assert run_ranks(4, program) == [[60000.0] * 4] * 4


def test_every_kind_keeps_its_kind(run_ranks: Run) -> None:
    def program(group: Group) -> list[Any]:
        call = functools.partial(dist.all_sum, group=group)
        values = [np.int8(3), np.array(2.0), 5, 0.5, b"\1\2", bytearray(b"\3"), np.ones((2, 2), ">f4").T]
        return [call(value) for value in values]

    for result in run_ranks(2, program):
        assert [type(value).__name__ for value in result[:6]] == [
            "int8",
            "ndarray",
            "ndarray",
            "ndarray",
            "bytes",
            "bytearray",
        ]
        assert [value.tolist() for value in result[:4]] == [6, 4.0, 10, 1.0]
        assert result[4:6] == [b"\2\4", bytearray(b"\6")]
        assert result[6].tolist() == [[2, 2], [2, 2]]


def test_shapes_are_joined_and_divided_along_the_first_axis(run_ranks: Run) -> None:
    def program(group: Group) -> list[tuple[int, ...]]:
        x = np.zeros((6, 2, 3))
        rank = group.rank()
        return [
            dist.all_gather(x, group=group).shape,
            dist.all_gather(np.float64(1), group=group).shape,
            dist.sum_scatter(x, group=group).shape,
            dist.all_to_all(x, group=group).shape,
            dist.scatter(x if rank == 1 else None, 1, group=group).shape,
            dist.all_gather(np.zeros((0, 4)), group=group).shape,
        ]

    assert run_ranks(3, program) == [[(18, 2, 3), (3,), (2, 2, 3), (6, 2, 3), (2, 2, 3), (0, 4)]] * 3


@pytest.mark.parametrize("count", [3, 400_000])
def test_the_roots_array_is_sent_from_where_it_is(run_ranks: Run, count: int) -> None:
    def program(group: Group) -> None:
        wanted = np.arange(count)
        x = np.stack([wanted, wanted], axis=1) if group.rank() == 1 else np.zeros((count, 2), np.int64)
        for source in (x[:, 0], np.ascontiguousarray(x[:, 0])):
            for out in (None, np.empty(count, np.int64), np.empty((count, 2), np.int64)[:, 1]):
                before = source.copy()
                found = dist.broadcast(source, 1, group=group, out=out, wait=False).wait()
                assert (found == wanted).all()
                assert (source == before).all()
                assert (dist.broadcast(source, 1, group=group, out=out) == wanted).all()
        alone = dist.split(group.rank(), group=group)
        assert (dist.broadcast(wanted, 0, group=alone, out=np.zeros(count, np.int64)) == wanted).all()

    run_ranks(3, program)


def test_out_receives_the_result_in_place_too(run_ranks: Run) -> None:
    def program(group: Group) -> None:
        rank, size = group.rank(), group.size()
        x = np.full(6, rank, np.int64)
        out = np.empty(6, np.int64)
        assert dist.all_sum(x, group=group, out=out) is out
        assert out.tolist() == [sum(range(size))] * 6
        assert dist.all_max(x, group=group, out=x) is x
        assert x.tolist() == [size - 1] * 6
        x = np.arange(6) + 10 * rank
        dist.all_to_all(x, group=group, out=x)
        assert x.tolist() == [10 * r + 2 * rank + i for r in range(size) for i in range(2)]
        x = np.full(2, rank)
        dist.broadcast(x, 2, group=group, out=x)
        assert x.tolist() == [2, 2]
        joined = np.empty((6,), np.int64)
        dist.all_gather(np.full(2, rank), group=group, out=joined)
        assert joined.tolist() == [0, 0, 1, 1, 2, 2]
        strided = np.zeros((4,), np.int64)[::2]
        dist.sum_scatter(np.arange(6), group=group, out=strided)
        assert strided.tolist() == [6 * rank, 6 * rank + 3]

    run_ranks(3, program)


def test_wrong_arguments_are_refused_before_anything_is_sent(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        x = np.zeros(5)
        wrong = [
            (ValueError, lambda: dist.sum_scatter(x, group=group)),
            (ValueError, lambda: dist.sum_scatter(np.float64(1), group=group)),
            (ValueError, lambda: dist.all_to_all(x, group=group)),
            (ValueError, lambda: dist.broadcast(x, 2, group=group)),
            (ValueError, lambda: dist.gather(x, -1, group=group)),
            (ValueError, lambda: dist.all_sum(x, group=group, out=np.zeros(4))),
            (ValueError, lambda: dist.all_sum(x, group=group, timeout=0)),
            (ValueError, lambda: dist.sum_scatter(x, "mean", group=group)),
            (TypeError, lambda: dist.all_sum(np.zeros(2, np.complex128), group=group)),
            (TypeError, lambda: dist.all_sum(np.arange(2), group=group, scale=0.5)),
            (TypeError, lambda: dist.all_sum([1.0], group=group)),
        ]
        for kind, call in wrong:
            with pytest.raises(kind):
                call()
        return dist.all_sum(1, group=group).item()

    assert run_ranks(2, program) == [2, 2]


@pytest.mark.parametrize(
    ("name", "arguments", "options", "text"),
    [
        ("all_sum", (None,), {}, "array: not an array, got 'builtins.NoneType', expected an array of NumPy"),
        (
            "all_sum",
            (np.ones(2),),
            {"scale": "2"},
            "all_sum: scale: not a number, got '2', expected a real number",
        ),
        ("all_sum", (np.ones(2),), {"scale": 1j}, "all_sum: scale: not a number, got 1j"),
        ("sum_scatter", (np.ones(2),), {"scale": None}, "sum_scatter: scale: not a number, got 'NoneType'"),
        (
            "all_max",
            (np.ones(2),),
            {"timeout": "5"},
            "timeout: not a number, got '5', expected seconds above 0",
        ),
        ("barrier", (), {"timeout": [5]}, "timeout: not a number, got 'list', expected seconds above 0"),
        ("broadcast", (np.ones(2), None), {}, "root: not an integer, got 'NoneType', expected 0 to 1"),
        ("gather", (np.ones(2), 1.0), {}, "root: not an integer, got 1.0, expected 0 to 1"),
        ("scatter", (np.ones(2), "0"), {}, "root: not an integer, got '0', expected 0 to 1"),
    ],
)
def test_an_argument_of_another_type_is_named(
    run_ranks: Run, name: str, arguments: tuple[Any, ...], options: dict[str, Any], text: str
) -> None:
    def program(group: Group) -> None:
        for wait in (True, False):
            more = {} if wait else {"wait": wait}
            with pytest.raises(TypeError, match=f"^{re.escape(text)}"):
                getattr(dist, name)(*arguments, group=group, **options, **more)

    run_ranks(2, program)


@pytest.mark.parametrize("wrong", [0, "x", [], 1.5])
def test_what_is_no_group_is_never_taken_for_the_default_one(wrong: Any) -> None:
    x = np.ones(2)
    for call in (
        lambda: dist.all_sum(x, group=wrong),
        lambda: dist.broadcast(x, 0, group=wrong),
        lambda: dist.barrier(group=wrong),
        lambda: dist.send(x, 0, group=wrong),
        lambda: dist.recv(2, "float64", 0, group=wrong),
        lambda: dist.split(0, group=wrong),
        lambda: dist.average_gradients([x], wrong),
        lambda: dist.assert_same([x], group=wrong),
        lambda: dist.all_gather_object(1, group=wrong),
    ):
        with pytest.raises(TypeError, match=rf"^group: not a group .*got 'builtins\.{type(wrong).__name__}'"):
            call()


def test_wait_and_scale_may_be_of_any_type_that_means_them(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        later = dist.all_sum(np.ones(1), group=group, wait=0)  # type: ignore[arg-type]
        return later.wait().item(), dist.all_sum(np.ones(1), group=group, scale=np.float32(0.5)).item()

    assert run_ranks(2, program) == [(2, 1)] * 2


def test_a_scatter_that_cannot_be_divided_is_an_error_on_every_rank(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        with pytest.raises(ValueError, match=r"scatter: cannot be divided, got \(5,\), expected .* 2 ranks"):
            dist.scatter(np.zeros(5) if group.rank() == 0 else None, 0, group=group)
        return dist.all_sum(1, group=group).item()

    assert run_ranks(2, program) == [2, 2]


# What rank 0 calls, what rank 1 calls, and what every rank's error names.
DIFFERENT: dict[str, tuple[Any, Any, str]] = {
    "operation": (("all_sum", np.zeros(3)), ("all_max", np.zeros(3)), "all_max"),
    "count": (("all_sum", np.zeros(3)), ("all_sum", np.zeros(4)), "4 elements"),
    "type": (("all_sum", np.zeros(3)), ("all_sum", np.zeros(3, np.float32)), "float32"),
    "type of nothing": (("all_sum", np.zeros(0)), ("all_sum", np.zeros(0, np.int32)), "int32"),
    "root": (("broadcast", np.zeros(3), 0), ("broadcast", np.zeros(3), 1), "root"),
    "barrier": (("barrier",), ("all_gather", np.zeros(3)), "all_gather"),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_ranks_that_call_different_things_all_raise(run_ranks: Run, what: str) -> None:
    *calls, names = DIFFERENT[what]

    def program(group: Group) -> str:
        name, *arguments = calls[group.rank()]
        with pytest.raises(BackendError) as caught:
            getattr(dist, name)(*arguments, group=group)
            dist.barrier(group=group)
        return str(caught.value)

    for text in run_ranks(2, program, timeout_s=20.0):
        assert names in text


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["all_sum", "all_max", "all_gather", "all_to_all", "sum_scatter"]),
            st.lists(st.integers(0, 5), min_size=0, max_size=3),
            st.sampled_from(["float32", "bfloat16", "int64", "bool"]),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_sequence_of_shapes_agrees_with_numpy(run_ranks: Run, calls: list[Any]) -> None:
    n_ranks = 3

    def inputs(shape: list[int], name: str) -> list[Any]:
        dtype = TYPES[arrays.DTYPES.index(name)]
        return [part(rank, dtype, int(np.prod(shape))).reshape(shape) for rank in range(n_ranks)]

    def expected(name: str, xs: list[Any], rank: int) -> Any:
        if name in ("all_sum", "all_max"):
            return functools.reduce(NUMPY[name[4:]], xs)
        if name == "all_gather":
            return np.concatenate([np.atleast_1d(x) for x in xs])
        rows = slice(rank * len(xs[0]) // n_ranks, (rank + 1) * len(xs[0]) // n_ranks)
        if name == "sum_scatter":
            return functools.reduce(np.add, xs)[rows]
        return np.concatenate([x[rows] for x in xs])

    def program(group: Group) -> None:
        for name, shape, dtype in calls:
            sized = [n_ranks * (shape[0] if shape else 1), *shape[1:]] if name in DIVIDED else shape
            xs = inputs(sized, dtype)
            same(
                getattr(dist, name)(xs[group.rank()], group=group),
                np.asarray(expected(name, xs, group.rank())),
            )

    run_ranks(n_ranks, program)
