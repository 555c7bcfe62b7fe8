from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from jobkit.bench.cases import OPERATIONS, case
from jobkit.bench.contenders import Contender
from jobkit.bench.crew import Crew, NotServed


def test_what_the_ring_serves_is_right(crew: Callable[..., Crew]) -> None:
    pytest.importorskip("mlx")
    ring = crew(Contender("mlx", "mlx"))
    missing = set()
    for op, dtype in itertools.product(OPERATIONS, ("float32", "bfloat16", "bool")):
        one = case(op, 2, 1024, dtype, "out")
        command = {"do": "run", "op": op, "count": one.count, "dtype": dtype, "form": "out"}
        try:
            replies = ring.ask({**command, "iterations": 2, "warmup": 1}, 60)
        except NotServed:
            missing.add(op)
        else:
            assert [(reply["wrong"], reply["form"]) for reply in replies] == [(0, "alloc")] * 2, (op, dtype)
    assert missing == {"sum_scatter", "broadcast", "all_to_all"}
