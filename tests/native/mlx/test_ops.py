"""The operations of `jobkit.native` on MLX arrays."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

import jobkit.native as dist


def test_those_that_mlx_has_are_lazy_and_can_be_compiled(pair: Any) -> None:
    def run(rank: Any) -> Any:
        x = mx.array([1.0, 2.0]) * (rank.rank + 1)
        compiled = mx.compile(lambda a: dist.all_sum(a) + dist.all_max(a) - dist.all_min(a))(x)
        return compiled.tolist(), dist.all_gather(x).tolist(), dist.sum_scatter(x).tolist()

    expected = ([4, 8], [1, 2, 2, 4])
    assert pair(run) == [(*expected, [3]), (*expected, [6])]


def test_a_sum_can_be_scaled(pair: Any) -> None:
    def run(rank: Any) -> Any:
        scaled = dist.all_sum(mx.array([1.0, 4.0], mx.float16), scale=0.5)
        return scaled.tolist(), str(scaled.dtype)

    assert pair(run) == [([1, 4], "mlx.core.float16")] * 2


def test_a_sum_is_scaled_before_it_is_rounded(pair: Any) -> None:
    def run(rank: Any) -> Any:
        x = mx.array([60000.0, 1.0], mx.float16)
        whole = mx.compile(lambda a: dist.all_sum(a, scale=0.5))(x).tolist()
        part = dist.sum_scatter(x, scale=0.5).tolist()
        gradient = mx.grad(lambda a: dist.all_sum(a, scale=0.5).sum())(mx.ones(2)).tolist()
        mean = dist.average_gradients({"w": x})["w"].tolist()
        return whole, part, gradient, mean

    whole = [60000, 1]
    assert pair(run) == [(whole, [whole[r]], [0.5, 0.5], whole) for r in range(2)]


def test_broadcast_and_exchange_are_lazy_and_can_be_compiled_and_mapped(pair: Any) -> None:
    def run(rank: Any) -> Any:
        def step(x: Any) -> Any:
            return dist.broadcast(x + 1, 1), dist.all_to_all(x), dist.sum_scatter(x, "max")

        x = mx.array([1.0, 2.0]) + 10 * rank.rank
        compiled = mx.compile(step)
        found = [[y.tolist() for y in compiled(x)] for _ in range(3)]
        batch = mx.stack([x, x * 2])
        mapped = mx.vmap(lambda a: dist.all_to_all(a))(batch).tolist()
        others = mx.vmap(lambda a: dist.broadcast(a, 0), in_axes=1)(batch).tolist()
        return found, mapped, others

    for rank, (found, mapped, others) in enumerate(pair(run)):
        mine = [1.0 + rank, 11.0 + rank]
        assert found == [[[12, 13], mine, [11 + rank]]] * 3
        assert mapped == [mine, [2 * value for value in mine]]
        assert others == [[1, 2], [2, 4]]


def test_gradients_go_through_a_compiled_exchange(pair: Any) -> None:
    def run(rank: Any) -> Any:
        weights = mx.array([1.0, 2.0]) * (rank.rank + 1)
        loss = mx.grad(lambda a: (dist.all_to_all(a) * weights).sum())
        return mx.compile(loss)(mx.zeros(2)).tolist()

    assert pair(run) == [[1, 2], [2, 4]]


def test_parts_of_maxima_and_minima(pair: Any) -> None:
    def run(rank: Any) -> Any:
        x = mx.array([1, 20, 3, 40]) if rank.rank else mx.array([10, 2, 30, 4])
        return dist.sum_scatter(x, "max").tolist(), dist.sum_scatter(x, "min").tolist()

    assert pair(run) == [([10, 20], [1, 2]), ([30, 40], [3, 4])]


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "bool_", "complex64", "float64"])
def test_those_that_mlx_has_not_keep_the_type(trio: Any, kind: str) -> None:
    def run(rank: Any, kind: str) -> Any:
        x = (mx.arange(3) + 10 * rank.rank).astype(mx.float32).astype(getattr(mx, kind))
        found = [
            dist.broadcast(x, 1),
            dist.all_to_all(x),
            dist.scatter(x if rank.rank == 2 else mx.zeros(3), 2),
            dist.sendrecv(x, (rank.rank + 1) % 3, (rank.rank + 2) % 3),
        ]
        gathered = dist.gather(x, 1)
        assert (gathered is None) == (rank.rank != 1)
        assert all(each.dtype == x.dtype for each in found)
        return [mx.real(each).astype(mx.float32).tolist() for each in found]

    def typed(values: list[int]) -> list[float]:
        return [float(bool(v)) if kind == "bool_" else float(v) for v in values]

    for rank, found in enumerate(trio(run, kind)):
        left = (rank + 2) % 3
        assert found == [
            typed([10, 11, 12]),
            typed([rank, 10 + rank, 20 + rank]),
            typed([20 + rank]),
            typed([10 * left, 10 * left + 1, 10 * left + 2]),
        ]


def test_both_directions_may_differ_in_shape(pair: Any) -> None:
    def run(rank: Any) -> Any:
        other = 1 - rank.rank
        mine, theirs = mx.arange(2 + 3 * rank.rank), mx.zeros(2 + 3 * other, mx.int32)
        return dist.sendrecv(mine, other, other, like=theirs).tolist()

    assert pair(run) == [[0, 1, 2, 3, 4], [0, 1]]


@pytest.mark.parametrize("wrong", ["mx.zeros(2)", "np.zeros(2)"])
def test_what_comes_has_the_type_of_what_goes(pair: Any, wrong: str) -> None:
    def run(rank: Any, wrong: str) -> Any:
        like = mx.zeros(2) if wrong == "mx.zeros(2)" else np.zeros(2, np.int32)
        return dist.sendrecv(mx.arange(2), 1 - rank.rank, 1 - rank.rank, like=like)

    for outcome in pair.outcomes(run, wrong):
        assert "sendrecv: like: " in outcome.text


def test_messages_are_told_apart_by_their_tag(pair: Any) -> None:
    def run(rank: Any) -> Any:
        if rank.rank == 0:
            mx.eval(dist.send(mx.array([1]), 1, tag=7))
            mx.eval(dist.send(mx.array([2]), 1, tag=8))
            return None
        second = dist.recv((1,), mx.int32, 0, tag=8).tolist()
        return second, dist.recv_like(mx.array([0]), 0, tag=7).tolist()

    assert pair(run) == [None, ([2], [1])]


def test_the_gradient_of_an_exchange_is_the_exchange_of_gradients(pair: Any) -> None:
    def run(rank: Any) -> Any:
        weights = mx.array([1.0, 2.0]) * (rank.rank + 1)
        return mx.grad(lambda a: (dist.all_to_all(a) * weights).sum())(mx.zeros(2)).tolist()

    assert pair(run) == [[1, 2], [2, 4]]


def test_what_has_no_gradient_says_so(pair: Any) -> None:
    def run(rank: Any) -> Any:
        return mx.grad(lambda a: dist.broadcast(a, 0).sum())(mx.zeros(2))

    for outcome in pair.outcomes(run):
        assert "broadcast: has no gradient" in outcome.text


def test_a_shape_that_cannot_be_divided_is_refused_at_the_call(pair: Any) -> None:
    def run(rank: Any) -> Any:
        return dist.sum_scatter(mx.zeros(3))

    for outcome in pair.outcomes(run):
        assert outcome.kind == "ValueError"
        assert "got (3,), expected axis 0 a multiple of 2" in outcome.text


def test_a_group_of_one_returns_its_input() -> None:
    x = mx.array([1.0, 2.0])
    assert dist.all_sum(x) is x
    assert dist.broadcast(x, 0) is x
    with pytest.raises(ValueError, match="group of one"):
        dist.send(x, 0)
