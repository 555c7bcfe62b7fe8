"""A group of the engine is a mx.distributed.Group with all that MLX does with one."""

from __future__ import annotations

import os
import time
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.utils
import numpy as np
import pytest

from jobkit.native import mlx as bridge

INTEGERS = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
TYPES = ("bool_", *INTEGERS, "float16", "bfloat16", "float32", "float64", "complex64")


def test_it_is_a_group_of_mlx_and_always_the_same_one(pair: Any) -> None:
    def look(rank: Any) -> Any:
        same = (
            bridge.group(rank.native) is rank.group and bridge.group(rank.native, timeout=5) is not rank.group
        )
        return isinstance(rank.group, mx.distributed.Group), rank.group.rank(), rank.group.size(), same

    assert pair(look) == [(True, 0, 2, True), (True, 1, 2, True)]


@pytest.mark.parametrize("op", ["sum", "max", "min"])
def test_reductions_agree_with_numpy_for_every_type_and_shape(trio: Any, op: str) -> None:
    def compare(rank: Any, op: str, types: tuple[str, ...]) -> Any:
        wrong = []
        for name in types:
            for shape in [(), (0,), (1,), (7,), (3, 5), (1024,), (2, 0, 3)]:
                dtype = getattr(mx, name)
                parts = []
                for r in range(rank.size):
                    values = np.random.default_rng(r).integers(-3, 9, shape)
                    parts.append(
                        values.astype(bool)
                        if name == "bool_"
                        else np.abs(values)
                        if name[0] == "u"
                        else values
                    )
                mine = mx.array(parts[rank.rank]).astype(dtype)
                with mx.stream(mx.cpu):
                    out = getattr(mx.distributed, f"all_{op}")(mine, group=rank.group)
                expected = {
                    "sum": np.logical_or.reduce(parts) if name == "bool_" else np.sum(parts, axis=0),
                    "max": np.max(parts, axis=0),
                    "min": np.min(parts, axis=0),
                }[op]
                real = mx.real(out) if name == "complex64" else out
                got = np.array(real.astype(mx.float32))
                if (
                    out.dtype != dtype
                    or out.shape != shape
                    or not np.array_equal(got, expected.astype(np.float32))
                ):
                    wrong.append((name, shape, got, expected))
        return wrong

    assert trio(compare, op, TYPES) == [[], [], []]


def test_integers_wrap_and_nan_wins(pair: Any) -> None:
    def compute(rank: Any) -> Any:
        wrapped = mx.distributed.all_sum(mx.array([100], mx.int8), group=rank.group).item()
        mine = mx.array([float("nan"), 1.0] if rank.rank else [5.0, float("nan")])
        return wrapped, mx.isnan(mx.distributed.all_max(mine, group=rank.group)).tolist()

    assert pair(compute) == [(-56, [True, True])] * 2


def test_gather_keeps_rank_order_and_gives_scalars_an_axis(trio: Any) -> None:
    def gather(rank: Any, types: tuple[str, ...]) -> Any:
        wrong = []
        for name in types:
            x = (mx.arange(2) + rank.rank).reshape(2, 1).astype(getattr(mx, name))
            out = mx.distributed.all_gather(x, group=rank.group)
            expected = mx.array([[0], [1], [1], [2], [2], [3]]).astype(getattr(mx, name))
            if out.shape != (6, 1) or out.dtype != x.dtype or not mx.all(out == expected).item():
                wrong.append(name)
        scalars = mx.distributed.all_gather(mx.array(rank.rank), group=rank.group)
        empty = mx.distributed.all_gather(mx.zeros((0, 2)), group=rank.group)
        return wrong, scalars.tolist(), empty.shape

    assert trio(gather, TYPES) == [([], [0, 1, 2], (0, 2))] * 3


def test_sum_scatter_gives_each_rank_its_rows(trio: Any) -> None:
    def scatter(rank: Any) -> Any:
        out = mx.distributed.sum_scatter(mx.arange(12.0).reshape(6, 2), group=rank.group)
        return out.tolist()

    assert trio(scatter) == [[[0, 3], [6, 9]], [[12, 15], [18, 21]], [[24, 27], [30, 33]]]


def test_messages_reach_any_rank(trio: Any) -> None:
    def pass_around(rank: Any) -> Any:
        received = []
        for source in range(rank.size):
            for target in range(rank.size):
                if rank.rank == source != target:
                    mx.eval(mx.distributed.send(mx.array([source, target]), target, group=rank.group))
                if rank.rank == target != source:
                    received.append(
                        mx.distributed.recv_like(mx.array([0, 0]), source, group=rank.group).tolist()
                    )
        return received

    assert trio(pass_around) == [[[1, 0], [2, 0]], [[0, 1], [2, 1]], [[0, 2], [1, 2]]]


def test_inputs_that_are_not_contiguous_are_read_in_their_order(pair: Any) -> None:
    def reduce(rank: Any) -> Any:
        x = mx.arange(6.0).reshape(2, 3)
        total = mx.distributed.all_sum(x.T, group=rank.group).tolist()
        every_second = mx.distributed.all_sum(mx.arange(6.0)[::2], group=rank.group).tolist()
        return total, every_second, mx.distributed.all_gather(x.T[:1], group=rank.group).tolist()

    expected = ([[0, 6], [2, 8], [4, 10]], [0, 4, 8], [[0, 3], [0, 3]])
    assert pair(reduce) == [expected] * 2


def test_an_input_that_is_used_again_is_not_written_over(pair: Any) -> None:
    def reduce(rank: Any) -> Any:
        x = mx.array([1.0, 2.0]) + rank.rank
        y = mx.distributed.all_sum(x, group=rank.group)
        mx.eval(y)
        return x.tolist(), y.tolist()

    assert pair(reduce) == [([1, 2], [3, 5]), ([2, 3], [3, 5])]


def test_a_result_is_donated_to_what_follows(pair: Any) -> None:
    def peaks(rank: Any) -> Any:
        x = mx.ones(1 << 20)
        scale = mx.array(2.0)
        mx.eval(x, scale)
        found = []
        for function in (lambda y: y, lambda y: y * scale):
            mx.synchronize()
            mx.reset_peak_memory()
            y = function(mx.distributed.all_sum(x, group=rank.group))
            mx.eval(y)
            mx.synchronize()
            found.append(mx.get_peak_memory())
            del y
        return found[1] - found[0] < 1 << 20

    assert pair(peaks) == [True, True]


def test_results_of_async_eval_may_be_dropped_while_they_are_under_way(pair: Any) -> None:
    def drop(rank: Any) -> Any:
        for _ in range(20):
            mx.async_eval(mx.distributed.all_sum(mx.ones(1 << 16), group=rank.group))
            if rank.rank:
                time.sleep(0.001)  # so that rank 0's operation waits while its result is already gone
            other = mx.ones(1 << 16) * 7
            mx.eval(other)
            if not mx.all(other == 7).item():
                return "overwritten"
        return mx.distributed.all_sum(mx.ones(2), group=rank.group).tolist()

    assert pair(drop) == [[2, 2]] * 2


def test_compile_grad_and_both_together(pair: Any) -> None:
    def differentiate(rank: Any) -> Any:
        def total(a: Any) -> Any:
            return mx.distributed.all_sum(a * a, group=rank.group).sum()

        x = mx.arange(3.0)
        compiled = mx.compile(lambda a: mx.distributed.all_sum(a * 3, group=rank.group) + 1)
        twice = [compiled(x).tolist() for _ in range(2)]
        return twice, mx.grad(total)(x).tolist(), mx.compile(mx.grad(total))(x).tolist()

    assert pair(differentiate) == [([[1, 7, 13]] * 2, [0, 2, 4], [0, 2, 4])] * 2


def test_the_gradient_of_a_gather_is_the_own_part(pair: Any) -> None:
    def differentiate(rank: Any) -> Any:
        return mx.grad(lambda a: mx.distributed.all_gather(a, group=rank.group)[0])(mx.array([5.0])).tolist()

    assert pair(differentiate) == [[1], [0]]


def test_vmap_and_jvp(pair: Any) -> None:
    def transform(rank: Any) -> Any:
        def total(a: Any) -> Any:
            return mx.distributed.all_sum(a, group=rank.group)

        batch = mx.vmap(total)(mx.arange(4.0).reshape(2, 2) + rank.rank)
        _, tangent = mx.jvp(total, [mx.array([1.0])], [mx.array([float(rank.rank + 1)])])
        return batch.tolist(), tangent[0].tolist()

    assert pair(transform) == [([[1, 3], [5, 7]], [3])] * 2


def test_one_group_on_two_streams_at_once_gives_right_sums(pair: Any) -> None:
    def reduce(rank: Any) -> Any:
        streams = [mx.new_stream(mx.cpu) for _ in range(2)]
        wrong = 0
        for turn in range(50):
            sums = [
                mx.distributed.all_sum(
                    mx.full((1000 * (i + 1),), float(i + turn)), group=rank.group, stream=streams[i % 2]
                )
                for i in range(6)
            ]
            mx.eval(sums)
            wrong += sum(not mx.all(each == 2 * (i + turn)).item() for i, each in enumerate(sums))
        return wrong

    assert pair(reduce) == [0, 0]


def test_python_s_own_calls_take_turns_with_the_streams(pair: Any) -> None:
    def mix(rank: Any) -> Any:
        found = []
        for turn in range(20):
            pending = mx.distributed.all_sum(mx.full((1 << 14,), 1.0), group=rank.group)
            mx.async_eval(pending)
            found.append(
                bridge.broadcast(mx.array(rank.rank + turn), 1, group=rank.native).item() == 1 + turn
            )
            found.append(mx.all(pending == 2).item())
        return all(found)

    assert pair(mix) == [True, True]


def test_a_split_waits_for_what_was_issued_before(trio: Any) -> None:
    def split(rank: Any) -> Any:
        pending = mx.distributed.all_sum(mx.ones(1 << 16), group=rank.group)
        mx.async_eval(pending)
        part = rank.group.split(rank.rank % 2, -rank.rank + 10)
        total = mx.distributed.all_sum(mx.array(rank.rank), group=part).item()
        return part.rank(), part.size(), total, mx.all(pending == 3).item()

    assert trio(split) == [(1, 2, 2, True), (0, 1, 1, True), (0, 2, 2, True)]


def test_a_negative_color_is_refused(pair: Any) -> None:
    def split(rank: Any) -> Any:
        try:
            rank.group.split(-1)
        except ValueError as error:
            return str(error)

    assert pair(split) == ["split: not a color, got -1, expected an integer >= 0"] * 2


def test_the_helpers_of_mlx_nn_run_on_it(pair: Any) -> None:
    def train(rank: Any) -> Any:
        gradients = {"w": mx.full((3, 2), rank.rank + 1.0), "b": [mx.ones(4) * rank.rank, mx.array(2.0)]}
        averaged = nn.average_gradients(gradients, group=rank.group)
        one_by_one = nn.average_gradients(gradients, group=rank.group, all_reduce_size=0)
        return [
            (each["w"].tolist()[0], each["b"][0].tolist()[:2], each["b"][1].item())
            for each in (averaged, one_by_one)
        ]

    assert pair(train) == [[([1.5, 1.5], [0.5, 0.5], 2.0)] * 2] * 2


@pytest.mark.parametrize(("pack_bytes", "n_calls"), [(32 << 20, 1), (200, 2), (0, 10)])
def test_gradients_travel_packed(pair: Any, pack_bytes: int, n_calls: int) -> None:
    def average(rank: Any, pack_bytes: int) -> Any:
        calls, all_sum = [], mx.distributed.all_sum

        def counted(*args: Any, **named: Any) -> Any:
            calls.append(args)
            return all_sum(*args, **named)

        mx.distributed.all_sum = counted
        try:
            leaves = [mx.full((10,), float(i + rank.rank)) for i in range(10)]
            found = nn.average_gradients(leaves, group=rank.group, all_reduce_size=pack_bytes)
        finally:
            mx.distributed.all_sum = all_sum
        return len(calls), [each[0].item() for each in found]

    assert pair(average, pack_bytes) == [(n_calls, [i + 0.5 for i in range(10)])] * 2


@pytest.mark.parametrize("mode", ["affine", "mxfp8"])
def test_quantized_sharded_layers_compute_what_the_whole_ones_do(pair: Any, mode: str) -> None:
    def compare(rank: Any, mode: str) -> Any:
        mx.random.seed(5)
        bits, group_size = (4, 64) if mode == "affine" else (8, 32)
        whole = nn.Linear(256, 128).to_quantized(group_size=group_size, bits=bits, mode=mode)
        x = mx.random.normal((3, 256))
        found = []
        for sharding in ("all-to-sharded", "sharded-to-all"):
            part = nn.layers.distributed.shard_linear(whole, sharding, group=rank.group)
            half = slice(128 * rank.rank, 128 * rank.rank + 128)
            got = part(x) if sharding == "all-to-sharded" else part(x[:, half])
            rows = slice(64 * rank.rank, 64 * rank.rank + 64)
            expected = whole(x)[:, rows] if sharding == "all-to-sharded" else whole(x)
            found.append(mx.allclose(got, expected, rtol=1e-3, atol=1e-3).item())
        return found

    assert pair(compare, mode) == [[True, True]] * 2


def test_the_norm_of_sharded_gradients_is_that_of_the_whole(pair: Any) -> None:
    def clip(rank: Any) -> Any:
        part = {"w": mx.full((2,), 3.0 if rank.rank else 4.0)}
        clipped, norm = nn.utils.clip_grad_norm_sharded(part, 1.0, group=rank.group)
        return round(norm.item(), 4), round(clipped["w"][0].item(), 3)

    assert pair(clip) == [(7.0711, 0.566), (7.0711, 0.424)]


def test_sharded_layers_compute_what_the_whole_ones_do(pair: Any) -> None:
    def compare(rank: Any) -> Any:
        mx.random.seed(3)
        layers = [nn.Linear(32, 64), nn.Linear(64, 16, bias=True)]
        x = mx.random.normal((5, 32))

        def run(layers: Any, x: Any) -> Any:
            return (layers[1](nn.relu(layers[0](x))) ** 2).sum()

        sharded = [
            nn.layers.distributed.shard_linear(layers[0], "all-to-sharded", group=rank.group),
            nn.layers.distributed.shard_linear(layers[1], "sharded-to-all", group=rank.group),
        ]
        expected, gradient = mx.value_and_grad(lambda a: run(layers, a))(x)
        got, sharded_gradient = mx.value_and_grad(lambda a: run(sharded, a))(x)
        compiled = mx.compile(lambda a: run(sharded, a))(x)
        close = (
            mx.allclose(expected, got, rtol=1e-4).item() and mx.allclose(expected, compiled, rtol=1e-4).item()
        )
        return close, mx.allclose(gradient, sharded_gradient, rtol=1e-4, atol=1e-4).item()

    assert pair(compare) == [(True, True)] * 2


def test_a_fully_sharded_module_gives_the_averaged_gradients(pair: Any) -> None:
    def compare(rank: Any) -> Any:
        mx.random.seed(3)
        whole = nn.Linear(4, 6)
        x = mx.random.normal((3, 4)) + rank.rank
        _, gradients = nn.value_and_grad(whole, lambda m: (m(x) ** 2).mean())(whole)
        averaged = nn.average_gradients(gradients, group=rank.group)
        sharded = nn.layers.distributed.fully_shard(whole, group=rank.group)
        _, parts = nn.value_and_grad(sharded, lambda m: (m(x) ** 2).mean())(sharded)

        mine = next(value for name, value in mlx.utils.tree_flatten(parts) if name.endswith("weight"))
        rows = averaged["weight"][3 * rank.rank : 3 * rank.rank + 3]
        return mx.allclose(mine.reshape(rows.shape), rows, rtol=1e-4, atol=1e-5).item()

    assert pair(compare) == [True, True]


def test_the_death_of_a_peer_reaches_whoever_reads_the_result(start_ranks: Any) -> None:
    def reduce(rank: Any) -> Any:
        x = mx.distributed.all_sum(mx.ones(4), group=rank.group)
        return x.tolist()

    ranks = start_ranks(2)
    assert ranks(reduce) == [[2] * 4] * 2
    ranks.start(reduce, on=[0])
    time.sleep(0.2)
    ranks.processes[1].kill()
    [(ok, kind, text)] = ranks.answers(on=[0], timeout_s=30)
    assert (ok, kind) == (False, "BackendError")
    assert "rank 1" in text
    ranks.start(reduce, on=[0])
    [(ok, kind, text)] = ranks.answers(on=[0], timeout_s=30)
    assert (ok, kind) == (False, "BackendError"), "the group stays broken, and says so at once"


def test_the_death_of_a_peer_ends_what_waits_on_several_streams(start_ranks: Any) -> None:
    def reduce(rank: Any) -> Any:
        streams = [mx.new_stream(mx.cpu) for _ in range(3)]
        if rank.rank == 1:
            time.sleep(0.5)
            os._exit(9)
        failures = 0
        for _ in range(3):
            sums = [mx.distributed.all_sum(mx.ones(5), group=rank.group, stream=s) for s in streams * 4]
            try:
                mx.eval(sums)
            except RuntimeError:
                failures += 1
        return failures

    ranks = start_ranks(2)
    ranks.start(reduce)
    assert ranks.answers(on=[0], timeout_s=30) == [(True, 3)]


def test_a_timeout_names_who_did_not_come(start_ranks: Any) -> None:
    def reduce(rank: Any) -> Any:
        if rank.rank == 0:
            x = mx.distributed.all_sum(mx.ones(4), group=bridge.group(rank.native, timeout=0.5))
            return x.tolist()
        return None

    ranks = start_ranks(2)
    [first, _] = ranks.outcomes(reduce)
    assert first.kind == "BackendError"
    assert "rank 1" in first.text
