"""Reductions of `torch.distributed` on the engine's (their values: test_process_group.py)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.distributed import ReduceOp, _make_nccl_premul_sum

from jobkit.native.torch import reductions


def test_float16_is_averaged_without_overflow(run_ranks: Any) -> None:
    def program(group: Any) -> Any:
        x, part = torch.full((2,), 60000.0, dtype=torch.float16), torch.empty(1, dtype=torch.float16)
        reductions.reduce_scatter(x, part, ReduceOp(ReduceOp.AVG), group, None)
        reductions.all_reduce(x, ReduceOp(ReduceOp.AVG), group, None)
        return x.tolist(), part.tolist()

    assert run_ranks(2, program) == [([60000, 60000], [60000])] * 2


def test_an_unknown_operation_lists_the_known_ones() -> None:
    class Newer:
        op = "MEDIAN"

    with pytest.raises(ValueError, match=r"ReduceOp: not supported, got 'MEDIAN', expected one of SUM, AVG"):
        reductions.all_reduce(torch.ones(1), Newer(), None, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["AVG", "PREMUL_SUM"])
def test_integers_are_neither_averaged_nor_scaled(run_ranks: Any, name: str) -> None:
    op = ReduceOp(ReduceOp.AVG) if name == "AVG" else _make_nccl_premul_sum(0.5)

    def program(group: Any) -> None:
        x = torch.ones(2, dtype=torch.int32)
        expected = rf"ReduceOp\.{name}: integers are not scaled, got 'int32'.*\n\nhint: reduce with SUM"
        for run in (reductions.all_reduce, lambda x, *rest: reductions.reduce_scatter(x, x[:1], *rest)):
            with pytest.raises(TypeError, match=expected):
                run(x, op, group, None)

    run_ranks(2, program)
