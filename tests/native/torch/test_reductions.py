"""Reductions of `torch.distributed` on the engine's (their values: test_process_group.py)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.distributed import ReduceOp

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


def test_integers_have_no_average(run_ranks: Any) -> None:
    def program(group: Any) -> None:
        with pytest.raises(TypeError, match="integers are not scaled"):
            reductions.all_reduce(torch.ones(1, dtype=torch.int32), ReduceOp(ReduceOp.AVG), group, None)

    run_ranks(2, program)
