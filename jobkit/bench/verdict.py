"""Ours beside the best of the others, case by case."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jobkit.bench.cases import Case
from jobkit.bench.contenders import OURS
from jobkit.bench.measure import Result


@dataclass(frozen=True)
class Verdict:
    """One case.

    Attributes:
        case: Which.
        ours: Our result.
        best: That of the fastest of the others; None where nobody else serves the case.
        best_default: That of the fastest of those with the settings that they come with.
    """

    case: Case
    ours: Result
    best: Result | None
    best_default: Result | None

    @property
    def ratio(self) -> float | None:
        """How many times longer the best of the others takes: above 1 we are faster."""
        return self.best.time_s / self.ours.time_s if self.best else None


def verdicts(results: Iterable[list[Result]]) -> list[Verdict]:
    """Return a verdict for each case that we served."""
    return [verdict for row in results if (verdict := _verdict(row))]


def _verdict(row: list[Result]) -> Verdict | None:
    ours = next((result for result in row if result.contender == OURS), None)
    if ours is None:
        return None
    others = [result for result in row if result is not ours]
    defaults = [result for result in others if result.is_default]
    return Verdict(ours.case, ours, _fastest(others), _fastest(defaults))


def _fastest(results: list[Result]) -> Result | None:
    return min(results, key=lambda result: result.time_s, default=None)


def worst(found: Iterable[Verdict]) -> Verdict | None:
    """Return the case in which we look worst beside another library; None where there is none."""
    compared = [verdict for verdict in found if verdict.ratio is not None]
    return min(compared, key=lambda verdict: verdict.ratio or 0.0, default=None)
