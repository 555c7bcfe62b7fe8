"""Without a compiler the operations run when they are called."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest

import jobkit.native as dist
from jobkit.errors import BackendError
from jobkit.native import mlx as bridge
from jobkit.native.mlx import eager

INTEGERS = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
TYPES = ("bool_", *INTEGERS, "float16", "bfloat16", "float32", "float64", "complex64")


def without_compiler(start_ranks: Any, tmp_path: Any) -> Any:
    return start_ranks(
        2, CXX="no-such-compiler", XDG_CACHE_HOME=str(tmp_path / "empty"), PYTHONWARNINGS="ignore"
    )


def test_every_operation_and_type_works(start_ranks: Any, tmp_path: Any) -> None:
    def run(rank: Any, types: tuple[str, ...]) -> Any:
        bridge.install()
        d, wrong = mx.distributed, []
        assert type(rank.group).__name__ == "EagerGroup" and d.init() is rank.group
        for name in types:
            x = (mx.arange(4) + rank.rank).astype(getattr(mx, name))
            results = [d.all_sum(x), d.all_max(x), d.all_min(x), d.all_gather(x), d.sum_scatter(x)]
            whole = [mx.array([0, 1, 2, 3]).astype(x.dtype), mx.array([1, 2, 3, 4]).astype(x.dtype)]
            total = mx.logical_or(*whole) if name == "bool_" else whole[0] + whole[1]
            least = mx.logical_and(*whole) if name == "bool_" else whole[0]
            rows = total[2 * rank.rank : 2 * rank.rank + 2]
            for result, expected in zip(
                results, [total, whole[1], least, mx.concatenate(whole), rows], strict=True
            ):
                if result.dtype != x.dtype or not mx.array_equal(result, expected).item():
                    wrong.append((name, result, expected))
        assert d.all_gather(mx.array(rank.rank)).tolist() == [0, 1]
        message = d.send(mx.array([7]), 1) if rank.rank == 0 else d.recv_like(mx.array([0]), 0)
        averaged = nn.average_gradients({"w": mx.array([float(rank.rank)])})["w"].item()
        return wrong, message.tolist(), averaged, rank.group.split(0).size()

    ranks = without_compiler(start_ranks, tmp_path)
    assert ranks(run, TYPES) == [([], [7], 0.5, 2)] * 2


def test_gradients_are_those_of_mlx_and_compile_and_vmap_are_refused(start_ranks: Any, tmp_path: Any) -> None:
    def run(rank: Any) -> Any:
        bridge.install()
        d, x = mx.distributed, mx.arange(2.0)
        gradients = [
            mx.grad(lambda a: d.all_sum(a * a).sum())(x).tolist(),
            mx.grad(lambda a: d.all_gather(a)[0])(mx.array([5.0])).tolist(),
        ]
        refused = []
        for transformed in (mx.compile(d.all_sum), mx.vmap(d.all_sum)):
            try:
                transformed(mx.ones((2, 2)))
            except RuntimeError as error:
                refused.append(str(error).splitlines()[0])
        return gradients, refused

    message = "all_sum: cannot run inside mx.compile or mx.vmap"
    first, second = without_compiler(start_ranks, tmp_path)(run)
    assert first == ([[0, 2], [1]], [message] * 2)
    assert second == ([[0, 2], [0]], [message] * 2)


def test_the_functions_of_native_give_what_they_do_with_a_compiler(start_ranks: Any, tmp_path: Any) -> None:
    def run(rank: Any) -> Any:
        x = mx.array([60000.0, 2.0], mx.float16)
        found = [
            dist.all_sum(x, scale=0.5),
            dist.sum_scatter(x, "sum", scale=0.5),
            dist.broadcast(x * rank.rank, 0),
            dist.all_to_all(x),
        ]
        return [y.tolist() for y in found]

    whole = [60000, 2]
    expected = [[whole, [whole[r]], [0, 0], [whole[r]] * 2] for r in range(2)]
    assert without_compiler(start_ranks, tmp_path)(run) == expected


@pytest.mark.parametrize(("name", "hint"), [("all_sum", "a C++ compiler"), ("sendrecv", "call it outside")])
def test_only_what_the_bridge_makes_lazy_asks_for_a_compiler(name: str, hint: str) -> None:
    compiled = mx.compile(lambda x: eager._apply(name, lambda y: eager.from_numpy(eager.to_numpy(y)), x))
    with pytest.raises(BackendError) as error:
        compiled(mx.ones(2))

    assert str(error.value).endswith(hint)


def test_a_type_survives_the_way_through_numpy() -> None:
    for dtype in eager.DTYPES:
        x = mx.array([1, 0, 3]).astype(dtype)
        back = eager.from_numpy(eager.to_numpy(x))
        assert back.dtype == dtype
        assert mx.array_equal(back, x).item()
