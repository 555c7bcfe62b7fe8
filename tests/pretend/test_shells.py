"""The shell of a pretended batch job is found to be one, with the slots of the job."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobkit.cli.batch import allocation
from jobkit.env.detect import detect
from jobkit.env.facts import facts
from jobkit.pretend.place import Place, Shape
from jobkit.pretend.shells import SHELLS


@pytest.mark.parametrize("launcher", SHELLS)
def test_the_shell_is_no_rank_and_has_its_slots(launcher: str, place_of: Callable[[Shape], Place]) -> None:
    where = place_of(Shape(launcher, 2, 3))
    environ = SHELLS[launcher](where)
    found = detect(environ, facts(environ))
    assert found.placement is None
    assert f"(6 slots on 1 hosts: {where.host} 6)" in found.reason
    job = allocation(environ, found)
    assert job is not None
    assert (job.hosts, job.here) == ((where.host,), True)
