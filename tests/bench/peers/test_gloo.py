from __future__ import annotations

from collections.abc import Callable

import pytest

from jobkit.bench.cases import OPERATIONS, case
from jobkit.bench.contenders import Contender
from jobkit.bench.crew import Crew


def test_what_torch_serves_is_right(crew: Callable[..., Crew]) -> None:
    pytest.importorskip("torch")
    gloo = crew(Contender("gloo", "gloo"))
    for op in OPERATIONS:
        one = case(op, 2, 1024, "float32", "out")
        command = {"do": "run", "op": op, "count": one.count, "dtype": "float32", "form": "out"}

        replies = gloo.ask({**command, "iterations": 2, "warmup": 1}, 60)

        assert [reply["wrong"] for reply in replies] == [0, 0], op
