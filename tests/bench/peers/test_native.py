from __future__ import annotations

from collections.abc import Callable

import pytest

from jobkit.bench.cases import OPERATIONS, case
from jobkit.bench.contenders import Contender
from jobkit.bench.crew import Crew, NotServed


@pytest.fixture
def three(crew: Callable[..., Crew]) -> Crew:
    return crew(Contender("jobkit", "native"), 3)


def test_every_operation_is_right_in_every_form_and_type(three: Crew) -> None:
    served = []
    for op in OPERATIONS:
        for form in ("out", "in-place", "alloc"):
            for dtype in ("float32", "bool", "int8", "bfloat16"):
                one = case(op, 3, 1024, dtype, form)
                command = {"do": "run", "op": op, "count": one.count, "dtype": dtype, "form": form}
                try:
                    replies = three.ask({**command, "iterations": 2, "warmup": 1}, 60)
                except NotServed:
                    continue
                assert [reply["wrong"] for reply in replies] == [0, 0, 0], one
                served.append((op, replies[0]["form"]))

    missing = {(op, form) for op in OPERATIONS for form in ("out", "in-place", "alloc")} - set(served)
    assert missing == {
        ("all_gather", "in-place"),
        ("sum_scatter", "in-place"),
        ("send", "out"),
        ("send", "in-place"),
    }
