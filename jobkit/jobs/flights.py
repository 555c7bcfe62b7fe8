"""What the flight recorders of an attempt say: 'rank 3 never entered all_sum #412'."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

_FILES = "rank-*.flight"
_MOST_RANKS = 512  # of more, reading a thousand calls each would keep who asks waiting
_MOST_SENTENCES = 8
_RAISED = " raised: "


def findings(attempt: Path) -> tuple[str, ...]:
    """Return what was out of order among the calls of the ranks, a sentence each; none where nothing was.

    Args:
        attempt: The attempt's folder. Programs that do not use the bundled backends record nothing in it.
    """
    n_files = sum(1 for _ in attempt.glob(_FILES))
    if n_files == 0:
        return ()
    how = f"python -m jobkit.native.recorder {attempt}"
    if n_files > _MOST_RANKS:
        return (f"{n_files} ranks have recorded their calls: {how}",)
    return _bounded(_of_the_last_group(attempt), how)


def _of_the_last_group(attempt: Path) -> list[str]:
    """Return the findings about the largest group; ranks that died before it have recorded an earlier one."""
    from jobkit.errors import BackendError

    try:
        from jobkit.native import recorder

        flights = recorder.read([str(attempt)])
    except (BackendError, ImportError) as error:
        return [f"the flight recorders cannot be read: {error}"]
    groups = [list(each) for _, each in groupby(flights, key=lambda flight: (flight.job, flight.epoch))]
    said = recorder.findings(max(groups, key=lambda group: (len(group), group[0].epoch)))
    # What nobody has said yet comes first: who raised what is among the ranks' own last lines.
    return sorted(said, key=lambda sentence: _RAISED in sentence)


def _bounded(said: list[str], how: str) -> tuple[str, ...]:
    more = len(said) - _MOST_SENTENCES
    return (*said[:_MOST_SENTENCES], *([f"and {more} more: {how}"] if more > 0 else []))
