"""Bring the contenders to life for each number of ranks, and measure them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from jobkit.bench import contenders, moments
from jobkit.bench.cases import cases
from jobkit.bench.choices import Choices
from jobkit.bench.contenders import OURS, Contender
from jobkit.bench.crew import Crew, CrewError
from jobkit.bench.measure import Result, measure
from jobkit.bench.moments import Moment
from jobkit.bench.places import SYSTEM, Place, places

_SMALL = 8  # bytes: where the overhead is of weight
Say = Callable[[str], None]


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Session:
    """One run of `jobkit bench`.

    Attributes:
        failed: Whether jobkit itself could not take part to the end.
    """

    def __init__(self, choices: Choices, say: Say) -> None:
        self.failed = False
        self._choices, self._say = choices, say

    def results(self) -> Iterator[list[Result]]:
        """Measure; yields the results of each case."""
        chosen = self._choices
        for size in chosen.ranks:
            with self.crews(size) as (crews, limit):
                what = cases(chosen.ops, size, chosen.sizes, chosen.dtypes, chosen.forms)
                yield from measure(crews, limit, what, chosen.effort, self._say)
                self.failed |= not any(c.contender.name == OURS and not c.failure for c in crews)

    def moments(self, *, idle_s: float) -> Iterator[Moment]:
        """Measure how each contender forms its group; with `idle_s`, what a rank costs that waits so long."""
        chosen = self._choices
        for size in chosen.ranks:
            with places(chosen.congestion, two=chosen.namespaces) as where:
                for one in self.contenders():
                    with Crew(one, size) as crew:
                        yield from self._moment(crew, where, idle_s)

    def _moment(self, crew: Crew, where: tuple[Place, ...], idle_s: float) -> Iterator[Moment]:
        deadline_s = self._choices.effort.deadline_s
        try:
            crew.start(where, os.environ, deadline_s)
            formed = moments.forming(crew, deadline_s)
            yield moments.waiting(crew, idle_s, deadline_s) if idle_s else formed
        except CrewError as error:
            self._absent(crew.contender, error)

    def overhead(self) -> Iterator[Moment]:
        """Measure what Python adds to a call of ours."""
        chosen = self._choices
        for size in chosen.ranks:
            with places(chosen.congestion, two=chosen.namespaces) as where, ExitStack() as stack:
                for crew in self._came(stack, self._ours(), size, where):
                    yield moments.overhead(crew, _SMALL, chosen.effort.deadline_s)

    def _ours(self) -> Contender:
        chosen = self._choices
        return contenders.ours(chosen.transport, chosen.backend, chosen.mpi_pythons)

    def contenders(self) -> list[Contender]:
        """Return who is to take part, jobkit first."""
        chosen = self._choices
        others = contenders.peers(chosen.against, chosen.transport, chosen.mpi_pythons)
        if chosen.congestion == SYSTEM:
            untouched = {one.name: one for one in contenders.as_they_come(others)}
            others = [untouched.get(one.name, one) for one in others]
        elif chosen.defaults:
            others += contenders.again(others)
        return [self._ours(), *others]

    @contextmanager
    def crews(self, size: int) -> Iterator[tuple[list[Crew], Crew | None]]:
        """Start everybody with `size` ranks: those who came, and the limit if it did."""
        chosen = self._choices
        with ExitStack() as stack:
            where = stack.enter_context(places(chosen.congestion, two=chosen.namespaces))
            everybody = self.contenders()
            untouched = where
            if any(one.is_default for one in everybody) and chosen.congestion != SYSTEM:
                untouched = stack.enter_context(places(SYSTEM, two=chosen.namespaces))
            came = []
            for one in everybody:
                if one.needs_processors and size > processors():
                    self._say(f"{one.name}: does not take part: {size} ranks on {processors()} processors")
                    continue
                came += self._came(stack, one, size, untouched if one.is_default else where)
            limits = self._came(stack, contenders.limit(chosen.transport), size, where)
            yield came, next(iter(limits), None)

    def _came(
        self, stack: ExitStack, contender: Contender, size: int, where: tuple[Place, ...]
    ) -> list[Crew]:
        """Return the contender's living ranks, or nothing where they did not come: that is reported."""
        crew = stack.enter_context(Crew(contender, size))
        deadline_s = self._choices.effort.deadline_s
        try:
            crew.start(where, os.environ, deadline_s)
            crew.init(deadline_s)
        except CrewError as error:
            self._absent(contender, error)
            return []
        self._say(f"{contender.name}: {crew.version}, {crew.size} rank{'s' * (crew.size > 1)}")
        return [crew]

    def _absent(self, contender: Contender, error: CrewError) -> None:
        self.failed |= contender.name == OURS
        self._say(f"{contender.name}: does not take part: {error}")
