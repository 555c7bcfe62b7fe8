from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from jobkit.bench.contenders import Contender
from jobkit.bench.crew import Crew, CrewError
from jobkit.bench.peers import loop
from jobkit.bench.peers.library import UnservedError
from jobkit.native.arrays import DTYPES

needs_compiler = pytest.mark.skipif(not shutil.which(os.environ.get("CC", "cc")), reason="needs a C compiler")
CORE = importlib.import_module("jobkit.native._core")
FLOAT32 = DTYPES.index("float32")


class NoGroup:
    """What a loop is made for that is never run."""

    def handle(self) -> Any:
        return CORE.c_api()


@needs_compiler
def test_the_engine_is_called_as_often_on_each_rank_and_is_in_step_afterwards(
    crew: Callable[..., Crew],
) -> None:
    one = crew()

    for reply in one.ask({"do": "overhead", "count": 2, "iterations": 5, "batches": 2}, 60):
        assert min(reply.values()) > 0
    one.ask({"do": "idle", "seconds": 0}, 60)


@needs_compiler
def test_an_error_of_the_engine_is_an_error(
    crew: Callable[..., Crew], fake: Callable[[str, str], Contender]
) -> None:
    odd = """
    from peers.native import Native
    class Fake(Native):
        def array(self, values, dtype):
            return values[self.rank :]
        def call(self, op, x, form):
            return Call(lambda: None)
    """
    with pytest.raises(CrewError, match=r"RuntimeError: .*calls differ"):
        crew(fake("odd", odd)).ask({"do": "overhead", "count": 4, "iterations": 5, "batches": 2}, 60)


@pytest.mark.parametrize(("compiler", "told"), [("false", "false -O2"), ("", "no C compiler")])
def test_without_a_compiler_it_is_not_served(
    monkeypatch: pytest.MonkeyPatch, compiler: str, told: str
) -> None:
    monkeypatch.setenv("CC", compiler)
    monkeypatch.setattr(shutil, "which", lambda _: None)

    with pytest.raises(UnservedError, match=told):
        loop.engine(CORE, NoGroup(), np.ones(1, np.float32), np.ones(1, np.float32), FLOAT32)
