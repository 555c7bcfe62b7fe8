"""The operations of `jobkit.native` on trees whose leaves are MLX arrays."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

import jobkit.native as dist


def test_gradients_of_mlx_are_averaged_beside_those_of_numpy(pair: Any) -> None:
    def run(rank: Any) -> Any:
        r = rank.rank
        tree = {
            "a": mx.full((2, 2), float(r)),
            "b": [mx.full((3,), r, dtype=mx.bfloat16), np.full(2, r, "f4")],
        }
        mean = dist.average_gradients(tree)
        leaves = [mean["a"], *mean["b"]]
        return [x.tolist() for x in leaves], [str(x.dtype) for x in leaves], type(leaves[2]).__module__

    values = [[[0.5, 0.5], [0.5, 0.5]], [0.5] * 3, [0.5] * 2]
    assert pair(run) == [(values, ["mlx.core.float32", "mlx.core.bfloat16", "float32"], "numpy")] * 2


@pytest.mark.parametrize("size", [32 * 2**20, 100, 0])
def test_packs_of_any_size_give_the_mean_in_every_communication_type(trio: Any, size: int) -> None:
    def run(rank: Any, size: int) -> Any:
        tree = [mx.full((5, 5), float(3 * rank.rank)) for _ in range(6)]
        for kind in (None, mx.float16, "bfloat16", np.float64):
            mean = dist.average_gradients(tree, None, size, kind)
            assert all(x.dtype == mx.float32 and x.tolist() == [[3.0] * 5] * 5 for x in mean)

    trio(run, size)


def test_a_compiled_step_may_average_its_gradients(pair: Any) -> None:
    def run(rank: Any) -> Any:
        def step(params: Any) -> Any:
            return dist.average_gradients(mx.grad(lambda p: (p["w"] * (rank.rank + 1)).sum())(params))

        compiled = mx.compile(step)
        return [compiled({"w": mx.ones(3)})["w"].tolist() for _ in range(3)]

    assert pair(run) == [[[1.5] * 3] * 3] * 2


def test_a_tree_is_broadcast_and_then_the_same(pair: Any) -> None:
    def run(rank: Any) -> Any:
        r = rank.rank
        tree = {"w": mx.full((2, 3), float(r)).T, "step": mx.array(r), "mask": mx.array([r == 0])}
        same = dist.broadcast_tree(tree, 1)
        dist.assert_same(same)
        return [x.tolist() for x in same.values()]

    assert pair(run) == [[[[1.0, 1.0]] * 3, 1, [False]]] * 2


def test_leaves_of_mlx_that_differ_are_named(pair: Any) -> None:
    def run(rank: Any) -> Any:
        texts = []
        for tree in ({"w": mx.array(float(rank.rank))}, {"w": mx.zeros((1 + rank.rank,), mx.float16)}):
            try:
                dist.assert_same(tree)
            except RuntimeError as error:
                texts.append(str(error))
        return texts

    structure = (
        "the tree of rank 1 is another one, got 'w float16 (2,)', expected 'w float16 (1,)' as on rank 0"
    )
    value = "w: differs on rank 1, expected the bits of rank 0"
    assert pair(run) == [[f"assert_same: {value}", f"assert_same: {structure}"]] * 2


def test_bfloat16_of_mlx_needs_no_package_of_its_own(pair: Any) -> None:
    def run(rank: Any) -> Any:
        import sys

        sys.modules["ml_dtypes"] = None  # type: ignore[assignment]
        tree = [mx.full((2,), rank.rank, dtype=mx.bfloat16), mx.zeros((0, 3)), mx.array(True)]
        try:
            means = [dist.average_gradients(tree[:2], None, 2**25, kind)[0] for kind in (None, "bfloat16")]
            dist.assert_same(dist.broadcast_tree(tree))
        finally:
            del sys.modules["ml_dtypes"]
        return [mean.tolist() for mean in means]

    assert pair(run) == [[[0.5] * 2] * 2] * 2


def test_a_scale_is_for_floating_types_only(pair: Any) -> None:
    def run(rank: Any) -> Any:
        try:
            dist.all_sum(mx.arange(3), scale=0.5)
        except TypeError as error:
            return str(error)

    assert all("integers are not scaled" in text for text in pair(run))


def test_integers_of_mlx_have_no_mean(pair: Any) -> None:
    def run(rank: Any) -> Any:
        try:
            dist.average_gradients({"n": mx.arange(3)})
        except TypeError as error:
            return str(error)

    assert all("average_gradients: n: integers have no mean" in text for text in pair(run))


def test_calls_with_numpy_take_turns_with_mlxs_streams(pair: Any) -> None:
    def run(rank: Any) -> Any:
        found = []
        for _ in range(20):
            pending = dist.all_sum(mx.ones((1 << 18,)))
            mx.async_eval(pending)
            found.append(dist.all_sum(np.ones(3)).tolist())
            dist.barrier()
            dist.sendrecv(np.ones(3), 1 - rank.rank, 1 - rank.rank)
            assert pending[7].item() == 2
        part = dist.split(rank.rank)
        return found, part.size()

    assert pair(run) == [([[2.0] * 3] * 20, 1)] * 2
