from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable

import pytest

from jobkit.bench import contenders, moments
from jobkit.bench.crew import Crew
from jobkit.bench.moments import Forming, Overhead, Waiting
from jobkit.bench.places import HERE

Start = Callable[..., Crew]


def test_forming_a_group_has_a_time_and_takes_memory() -> None:
    with Crew(contenders.ours("shm"), 3) as crew:
        crew.start((HERE,), os.environ, 60)

        found = moments.forming(crew, 60)

    assert (found.contender, found.ranks) == ("jobkit", 3)
    assert found.seconds > 0
    assert 0 < found.shared <= found.memory < 64 << 20


def test_a_rank_that_waits_is_measured_while_it_waits(crew: Start) -> None:
    found = moments.waiting(crew(), 0.3, 60)

    assert found.seconds > 0.2
    assert 0 <= found.cpu < found.seconds


@pytest.mark.skipif(not shutil.which(os.environ.get("CC", "cc")), reason="needs a C compiler")
def test_what_python_adds_is_the_difference_to_a_loop_in_c(
    crew: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moments, "_BATCHES", 3)

    found = moments.overhead(crew(), 8, 60)

    assert min(found.engine, found.out, found.alloc) > 0
    assert moments.columns(found)["OUT ADDS us"] == f"{(found.out - found.engine) * 1e6:.3f}"


def test_each_moment_is_a_row() -> None:
    formed = Forming("a", 2, 0.5, 3 << 20, 1 << 20)
    assert list(moments.columns(formed).values()) == ["a", "2", "0.500", "3.0", "1.0"]
    assert list(moments.columns(Waiting("a", 2, 2.0, 0.01)).values()) == ["a", "2", "2.00", "0.010", "0.5%"]
    added = moments.columns(Overhead(8, 1e-6, 1.25e-6, 1.5e-6))
    assert list(added) == ["BYTES", "ENGINE us", "OUT us", "ALLOC us", "OUT ADDS us", "ALLOC ADDS us"]
    assert list(added.values()) == ["8", "1.000", "1.250", "1.500", "0.250", "0.500"]


def test_json_says_what_was_measured() -> None:
    found = json.loads(json.dumps(moments.as_json(Waiting("a", 2, 2.0, 0.01))))

    assert found == {"measured": "waiting", "contender": "a", "ranks": 2, "seconds": 2.0, "cpu": 0.01}
