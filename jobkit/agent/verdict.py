"""Which rank's exit gives the job its status."""

from __future__ import annotations

from collections.abc import Iterable

from jobkit.env.record import RankExit


def first_failure(exits: Iterable[RankExit]) -> RankExit | None:
    """Return the failure that came first in time, None where no rank failed.

    Ranks that were ended because the job ended never count. A rank whose error names another as the culprit
    counts
    only if that culprit did not fail: its failure is the consequence.
    """
    failed = sorted((e for e in exits if e.status and not e.ended_by_jobkit), key=lambda e: e.order)
    ranks = {e.rank for e in failed if e.victim_of is None}
    causes = [e for e in failed if e.victim_of is None or not _excused(e, failed, ranks)]
    return next(iter(causes or failed), None)


def _excused(victim: RankExit, failed: list[RankExit], culprits: set[int]) -> bool:
    """Follow who blames whom: a victim is excused when the chain ends at a rank that failed by itself."""
    blamed = {e.rank: e.victim_of for e in failed}
    seen: set[int] = set()
    rank: int | None = victim.rank
    while rank is not None and rank not in seen:
        if rank in culprits:
            return True
        seen.add(rank)
        rank = blamed.get(rank)
    return False
