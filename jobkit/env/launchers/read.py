"""Read the numbers of a placement from an environment, with errors that name the variable."""

from __future__ import annotations

from collections.abc import Mapping

from jobkit.env.placement import Placement
from jobkit.errors import PlacementError, complaint


def count(environ: Mapping[str, str], name: str) -> int:
    """Return a variable as an integer >= 0.

    Raises:
        PlacementError: It is absent, empty or no such number.
    """
    text = environ.get(name, "")
    if not text.isascii() or not text.isdigit():
        raise PlacementError(complaint(name, "not a count", got=text, expected="an integer >= 0"))
    return int(text)


def checked(placement: Placement, rank: str, local_rank: str) -> Placement:
    """Return the placement if its ranks are inside their sizes; the names are those of their variables."""
    for name, value, size in (
        (rank, placement.rank, placement.size),
        (local_rank, placement.local_rank, placement.local_size),
    ):
        if size is not None and value >= size:
            raise PlacementError(
                complaint(name, "not a rank of this job", got=value, expected=f"less than {size}")
            )
    return placement
