from __future__ import annotations

from collections.abc import Callable

from jobkit.bench import contenders
from jobkit.bench.crew import Crew


def test_each_side_gets_what_the_other_has(crew: Callable[..., Crew]) -> None:
    pair = crew(contenders.limit("tcp"))
    command = {"do": "run", "op": "send", "dtype": "float32", "form": "out", "iterations": 2, "warmup": 1}

    for count in (1, 1 << 20):
        assert [reply["wrong"] for reply in pair.ask({**command, "count": count}, 60)] == [0, 0]
