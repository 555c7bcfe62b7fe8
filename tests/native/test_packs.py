"""Trees that travel in few large operations."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jobkit.native as dist
from jobkit.errors import BackendError
from jobkit.native import collectives, packs
from jobkit.native.group import Group

Run = Callable[..., list[Any]]


def test_the_examples_of_the_module_run() -> None:
    assert doctest.testmod(packs).failed == 0


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 100)), max_size=40),
    st.integers(-1, 300),
)
def test_every_leaf_is_in_one_pack_and_packs_are_full(leaves: list[tuple[str, int]], limit: int) -> None:
    keys, sizes = [key for key, _ in leaves], [size for _, size in leaves]
    planned = packs.plan(keys, sizes, limit)
    assert sorted(index for pack in planned for index in pack) == list(range(len(leaves)))
    for pack in planned:
        assert pack == sorted(pack)
        assert len({keys[index] for index in pack}) == 1
        assert len(pack) == 1 or sum(sizes[index] for index in pack[:-1]) < limit
    by_key = [[pack for pack in planned if keys[pack[0]] == key] for key in set(keys)]
    assert all(sum(sizes[i] for i in pack) >= limit for same in by_key for pack in same[:-1])


class Pair(NamedTuple):
    weight: Any
    bias: Any


def gradients(rank: int) -> dict[str, Any]:
    return {
        "layers": [Pair(np.full((2, 3), rank, np.float32), np.full(3, 2 * rank, np.float32)), None],
        "half": np.full((4,), rank, np.float16),
        "brain": (np.full((2, 2), rank, ml_dtypes.bfloat16),),
        "scalar": np.array(float(rank)),
        "phase": np.full(2, rank * 1j, np.complex64),
        "empty": np.zeros((0, 3), np.float32),
    }


@pytest.fixture
def operations(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The 1-d arrays that all_sum was called with on rank 0."""
    seen: list[Any] = []
    real = collectives.all_sum

    def recording(x: Any, *, group: Group, **options: Any) -> Any:
        if group.rank() == 0:
            seen.append((x.dtype.name, x.size))
        return real(x, group=group, **options)

    monkeypatch.setattr(collectives, "all_sum", recording)
    return seen


core = pytest.importorskip("jobkit.native._core")


def test_the_next_pack_is_filled_while_the_last_one_travels(
    run_ranks: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[bool] = []
    real = collectives.all_sum

    def recording(x: Any, *, group: Group, wait: bool, **options: Any) -> Any:
        if group.rank() == 0:
            waits.append(wait)
        return real(x, group=group, wait=wait, **options)

    monkeypatch.setattr(collectives, "all_sum", recording)

    def program(group: Group) -> Any:
        tree = [np.full(10, group.rank() + i, np.float32) for i in range(6)]
        return [x.tolist() for x in dist.average_gradients(tree, group, all_reduce_size=80)]

    expected = [[0.5 + i] * 10 for i in range(6)]
    assert run_ranks(2, program) == [expected, expected]
    assert waits == [False, False, True]


@pytest.mark.parametrize("n_ranks", [2, 3])
def test_gradients_are_averaged_and_keep_shape_type_and_structure(run_ranks: Run, n_ranks: int) -> None:
    def program(group: Group) -> Any:
        return dist.average_gradients(gradients(group.rank()), group)

    mean = sum(range(n_ranks)) / n_ranks
    for result in run_ranks(n_ranks, program):
        assert type(result["layers"][0]) is Pair
        assert result["layers"][1] is None
        found = packs.leaves(result)
        given_leaves = packs.leaves(gradients(0))
        assert [leaf.path for leaf in found] == [leaf.path for leaf in given_leaves]
        for leaf, before in zip(found, given_leaves, strict=True):
            assert (leaf.value.dtype, leaf.value.shape) == (before.value.dtype, before.value.shape)
        assert result["layers"][0].weight.tolist() == [[mean] * 3] * 2
        assert result["layers"][0].bias.tolist() == [2 * mean] * 3
        assert result["scalar"] == mean
        assert result["phase"].tolist() == [mean * 1j] * 2
        assert result["brain"][0].astype(float).tolist() == [[mean] * 2] * 2


def test_leaves_of_one_type_travel_together(run_ranks: Run, operations: list[Any]) -> None:
    run_ranks(2, lambda group: dist.average_gradients(gradients(group.rank()), group))
    assert operations == [("float32", 9), ("float16", 4), ("bfloat16", 4), ("float64", 1), ("complex64", 2)]


@pytest.mark.parametrize(("size", "calls"), [(32 * 2**20, 1), (200, 2), (0, 10), (-1, 10)])
def test_packs_are_as_large_as_asked(run_ranks: Run, operations: list[Any], size: int, calls: int) -> None:
    def program(group: Group) -> Any:
        tree = [np.full(10, group.rank(), np.float32) for _ in range(10)]
        return dist.average_gradients(tree, group, all_reduce_size=size)

    for result in run_ranks(2, program):
        assert [leaf.tolist() for leaf in result] == [[0.5] * 10] * 10
    assert len(operations) == calls


def test_a_communication_type_travels_and_the_own_comes_back(run_ranks: Run, operations: list[Any]) -> None:
    def program(group: Group) -> Any:
        tree = {"a": np.full(3, group.rank() + 1 / 3, np.float32), "b": np.full(2, group.rank(), np.float64)}
        return dist.average_gradients(tree, group, communication_type="bfloat16")

    (result, other) = run_ranks(2, program)
    assert operations == [("bfloat16", 5)]
    assert (result["a"].dtype, result["b"].dtype) == (np.float32, np.float64)
    assert result["a"].tobytes() == other["a"].tobytes()
    np.testing.assert_allclose(result["a"], 0.5 + 1 / 3, rtol=1e-2)


def test_a_mean_of_large_halves_does_not_overflow(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        return dist.average_gradients({"w": np.full(3, 60000, np.float16)}, group)["w"].tolist()

    assert run_ranks(4, program) == [[60000.0] * 3] * 4


def test_the_inputs_are_not_changed(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        tree = [np.full(3, group.rank(), np.float32)]
        dist.average_gradients(tree, group)
        return tree[0].tolist()

    assert run_ranks(2, program) == [[0.0] * 3, [1.0] * 3]


@pytest.mark.parametrize("dtype", [np.int32, np.bool_])
def test_integer_leaves_raise_and_are_named(run_ranks: Run, dtype: Any) -> None:
    def program(group: Group) -> Any:
        with pytest.raises(TypeError, match=r"average_gradients: b\.0: integers have no mean"):
            dist.average_gradients({"a": np.ones(2), "b": [np.ones(2, dtype)]}, group)
        return dist.all_sum(1, group=group).item()

    assert run_ranks(2, program) == [2, 2]


def test_what_is_no_array_is_named() -> None:
    with pytest.raises(TypeError, match=r"a\.1: array: not an array, got 'builtins.str'"):
        dist.average_gradients({"a": [np.ones(2), "text"]})


@pytest.mark.parametrize("kind", ["int32", "float31"])
def test_a_communication_type_must_be_floating(kind: str) -> None:
    with pytest.raises(TypeError, match=r"communication_type: not a floating type|dtype: unknown"):
        dist.average_gradients({"a": np.ones(2)}, communication_type=kind)


def test_complex_leaves_cannot_travel_as_real_numbers_nor_the_other_way_round() -> None:
    with pytest.raises(TypeError, match="a: complex numbers cannot travel as float32"):
        dist.average_gradients({"a": np.ones(2, np.complex64)}, communication_type=np.float32)
    with pytest.raises(TypeError, match="a: real numbers cannot travel as complex64"):
        dist.average_gradients({"a": np.ones(2)}, communication_type=np.complex64)


def test_the_size_of_a_pack_is_a_number_of_bytes() -> None:
    with pytest.raises(TypeError, match=r"all_reduce_size: not a number, got 'x', expected bytes"):
        dist.average_gradients({"a": np.ones(2)}, all_reduce_size="x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("theirs", "names"),
    [
        ({"a": np.ones(2), "b": np.ones(3)}, "b float64 (3,)"),
        ({"b": np.ones(2), "a": np.ones(2)}, "b float64 (2,)"),
        ({"a": np.ones(2, np.float32), "b": np.ones(2)}, "a float32 (2,)"),
        ({"a": np.ones(2)}, "got 'no more leaves', expected 'b float64 (2,)' as on rank 0"),
        (
            {"a": np.ones(2), "b": np.ones(2), "c": np.ones(1)},
            "got 'c float64 (1,)', expected 'no more leaves'",
        ),
    ],
    ids=["shape", "order", "type", "missing", "more"],
)
def test_trees_that_differ_are_an_error_on_every_rank(run_ranks: Run, theirs: Any, names: str) -> None:
    ours = {"a": np.ones(2), "b": np.ones(2)}

    def program(group: Group) -> Any:
        with pytest.raises(BackendError, match="the tree of rank 1 is another one") as caught:
            dist.average_gradients(theirs if group.rank() == 1 else ours, group)
        dist.barrier(group=group)  # the group goes on
        return str(caught.value)

    texts = run_ranks(3, program)
    assert len(set(texts)) == 1
    assert names in texts[0]


@pytest.mark.parametrize(
    ("name", "values"), [("all_reduce_size", (0, 1)), ("communication_type", (None, "float32"))]
)
def test_arguments_that_differ_are_an_error(run_ranks: Run, name: str, values: tuple[Any, Any]) -> None:
    def program(group: Group) -> None:
        expected = rf"the call of rank 1 is another one, got '.*{name}={values[1]}.*{name}={values[0]}"
        with pytest.raises(BackendError, match=expected):
            dist.average_gradients([np.ones(2)], group, **{name: values[group.rank()]})

    run_ranks(2, program)


def test_a_tree_is_broadcast_with_integers_too(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        rank = group.rank()
        tree = {"w": np.full((2, 2), rank, np.float32), "step": np.array(rank), "flags": np.full(3, rank > 0)}
        return dist.broadcast_tree(tree, 1, group=group)

    for result in run_ranks(3, program):
        assert result["w"].tolist() == [[1, 1], [1, 1]]
        assert result["step"] == 1
        assert result["flags"].tolist() == [True] * 3


def test_an_empty_tree_is_averaged_to_itself(run_ranks: Run) -> None:
    assert run_ranks(2, lambda group: dist.average_gradients({"a": []}, group)) == [{"a": []}] * 2
