"""Gangs whose ranks are threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from env.tcp.threads import Gang

from jobkit.env.gang import Report


@pytest.fixture
def make_gang(make_report: Callable[..., Report]) -> Iterator[Callable[..., Gang]]:
    """Make the gang of a number of ranks; whatever it still holds is closed at the end."""
    made: list[Gang] = []

    def make(size: int, job: str = "job-1") -> Gang:
        made.append(Gang(size, make_report, job))
        return made[-1]

    yield make
    for gang in made:
        gang.wait()
        gang.coordinator.close()
