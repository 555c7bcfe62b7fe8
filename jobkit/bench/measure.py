"""Measure every contender at every case, in turn: size by size, round by round."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from jobkit.bench.cases import Case
from jobkit.bench.crew import Crew, CrewError, NotServed, Reply

_FEWEST, _MOST = 3, 50_000  # calls that are timed together
_LIMIT_FROM_BYTES = 32 << 10  # below, the limit would be that of a function call
_SHORT_CALL_S = 1e-3  # two of these say little about how long one takes


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        rounds: Turns that each contender has at each case.
        seconds: Of the timed calls of a turn, about.
        deadline_s: After which a contender that does not answer is ended.
    """

    rounds: int = 5
    seconds: float = 0.1
    deadline_s: float = 120.0


@dataclass(frozen=True)
class Result:
    """What was found for one contender at one case.

    Attributes:
        contender, version: Who.
        case: What.
        form: The form in which it was called.
        time_s: A call: median over the rounds of the slowest rank's mean.
        best_s: The same in the best of the rounds: what a machine that is busy otherwise still shows.
        p50_s, p99_s: Of calls timed one by one, on the slowest rank; medians over the rounds.
        cpu_s: Processor time of a call, all threads of the most loaded rank; median over the rounds.
        wrong: Elements that were not as expected, on all ranks in all rounds.
        limit: The rate of the machine's limit in bytes per second, 0 where it was not measured.
        is_default: Whether the contender ran with the settings that it comes with.
    """

    contender: str
    version: str
    case: Case
    form: str
    time_s: float
    best_s: float
    p50_s: float
    p99_s: float
    cpu_s: float
    wrong: int
    limit: float = 0.0
    is_default: bool = False

    @property
    def algbw(self) -> float:
        """Bytes of the case per second."""
        return self.case.n_bytes / self.time_s

    @property
    def busbw(self) -> float:
        """Bytes per second that pass the link of a rank one way."""
        return self.algbw * self.case.bus_factor

    @property
    def of_limit(self) -> float | None:
        """The part of the machine's limit that it reaches."""
        return self.busbw / self.limit if self.limit else None


def measure(
    crews: Sequence[Crew],
    limit: Crew | None,
    cases: Iterable[Case],
    effort: Effort,
    say: Callable[[str], None],
) -> Iterator[list[Result]]:
    """Yield the results of each case: one per contender that serves it, in the order of `crews`.

    A contender that fails is ended, reported by `say` and left out from then on.
    """
    for case in cases if crews else ():
        turns = [Turns(crew, case, effort) for crew in crews]
        turns += [Turns(limit, case, effort)] if limit and case.n_bytes >= _LIMIT_FROM_BYTES else []
        for number in range(effort.rounds):
            # Each round begins with another contender: none always follows the same one.
            first = number % len(turns)
            for turn in turns[first:] + turns[:first]:
                turn.take(say)
        bound = next((turn.rate() for turn in turns if turn.crew is limit), 0.0)
        yield [turn.result(bound) for turn in turns if turn.replies and turn.crew is not limit]


class Turns:
    """One contender at one case.

    Attributes:
        crew: Its ranks.
        replies: What they have answered, a list a round.
    """

    def __init__(self, crew: Crew, case: Case, effort: Effort) -> None:
        self.crew, self.replies = crew, list[list[Reply]]()
        self._case, self._effort = case, effort
        self._iterations = 0

    def take(self, say: Callable[[str], None]) -> None:
        """Have one round, unless the contender has failed or does not serve the case."""
        if self.crew.failure:
            return
        try:
            if not self._iterations:
                self._iterations = self._calibrated()
            if self._iterations > 0:
                self.replies.append(self._run(self._iterations, 1 + self._iterations // 10))
        except NotServed:
            self._iterations = -1
        except CrewError as error:
            self.replies.clear()
            case = self._case
            say(f"{self.crew.contender.name}: {case.op} of {case.n_bytes} bytes ({case.dtype}): {error}")

    def rate(self) -> float:
        """Return the bytes per second that were moved; 0 where nothing was measured."""
        return self._case.n_bytes / self._median("seconds") if self.replies else 0.0

    def result(self, limit: float) -> Result:
        """Return what the rounds say."""
        contender, first = self.crew.contender, self.replies[0][0]
        return Result(
            contender=contender.name,
            version=self.crew.version,
            case=self._case,
            form=str(first["form"]),
            time_s=self._median("seconds"),
            best_s=min(_slowest(replies, "seconds") for replies in self.replies),
            p50_s=self._median("p50"),
            p99_s=self._median("p99"),
            cpu_s=self._median("cpu"),
            wrong=sum(int(reply["wrong"]) for replies in self.replies for reply in replies),
            limit=limit,
            is_default=contender.is_default,
        )

    def _calibrated(self) -> int:
        """Return how many calls take about the time of a round. The calls made here warm everything up."""
        once = _slowest(self._run(2, 1), "seconds")
        if once < _SHORT_CALL_S:
            once = _slowest(self._run(20, 5), "seconds")
        return min(_MOST, max(_FEWEST, int(self._effort.seconds / max(once, 1e-9))))

    def _run(self, iterations: int, warmup: int) -> list[Reply]:
        case = self._case
        limits = self.crew.contender.is_limit
        command = {"do": "run", "op": "send" if limits else case.op, "dtype": case.dtype, "form": case.form}
        count = _as_many_bytes(case) if limits else case.count
        times = {"iterations": iterations, "warmup": warmup}
        return self.crew.ask({**command, **times, "count": count}, self._effort.deadline_s)

    def _median(self, name: str) -> float:
        return median(_slowest(replies, name) for replies in self.replies)


def _as_many_bytes(case: Case) -> int:
    """Return the elements that make up the bytes of a case, for the limits: they move one array."""
    return case.count * case.size if case.op == "all_gather" else case.count


def _slowest(replies: list[Reply], name: str) -> float:
    return max(float(reply[name]) for reply in replies)
