"""mpi4py and a library of MPI are not part of the test environment: interpreters are named by a variable."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from jobkit.bench import contenders
from jobkit.bench.cases import OPERATIONS, case
from jobkit.bench.contenders import Contender
from jobkit.bench.crew import Crew, NotServed

PYTHONS = [path for path in os.environ.get("JOBKIT_TEST_MPI_PYTHONS", "").split(",") if path]
CONTENDERS = contenders.peers(["mpi"], "shm", PYTHONS) if PYTHONS else []


@pytest.mark.skipif(not PYTHONS, reason="JOBKIT_TEST_MPI_PYTHONS names no interpreter with mpi4py")
@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda one: one.name)
def test_every_operation_is_right_in_every_form(crew: Callable[..., Crew], contender: Contender) -> None:
    world = crew(contender, 2)
    served = 0
    for op in OPERATIONS:
        for form in ("out", "in-place", "alloc"):
            count = case(op, 2, 1024, "float32", form).count
            command = {"do": "run", "op": op, "count": count, "dtype": "float32", "form": form}
            try:
                replies = world.ask({**command, "iterations": 2, "warmup": 1}, 60)
            except NotServed:
                continue
            served += 1
            assert [reply["wrong"] for reply in replies] == [0, 0], (op, form)
    assert served == 16
