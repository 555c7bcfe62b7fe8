"""What is to be imitated, and the place of one process in it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jobkit.errors import SpecError, complaint

_FORM = re.compile(r"([a-z0-9]+):(\d{1,6})x(\d{1,6})")
_MOST_RANKS = 10_000


@dataclass(frozen=True)
class Shape:
    """A job of a launcher.

    Attributes:
        launcher: Its name, as `jobkit env` has it.
        nodes: Nodes of the job.
        per_node: Ranks on each.
    """

    launcher: str
    nodes: int
    per_node: int

    @property
    def size(self) -> int:
        """Ranks of the job."""
        return self.nodes * self.per_node

    def __str__(self) -> str:
        return f"{self.launcher}:{self.nodes}x{self.per_node}"


@dataclass(frozen=True)
class Place:
    """One process of such a job.

    Attributes:
        rank: Its rank.
        host: This machine's name, which is every node's.
        number: The job's, as a scheduler would give it.
        pid: Of the process.
        folder: In which the program starts.
        user: Who starts it.
        port: A free one, for what rank 0 offers; 0 without.
        files: A folder for what variables name.
    """

    shape: Shape
    rank: int
    host: str
    number: int
    pid: int
    folder: str
    user: str
    port: int
    files: str

    @property
    def node(self) -> int:
        """The node of this rank."""
        return self.rank // self.shape.per_node

    @property
    def local_rank(self) -> int:
        """This rank on its node."""
        return self.rank % self.shape.per_node


def shape(text: str, known: tuple[str, ...]) -> Shape:
    """Return what `slurm:2x4` means: two nodes of Slurm's with four ranks each.

    Args:
        text: As given.
        known: Names of launchers.

    Raises:
        SpecError: It means nothing.

    >>> str(shape("slurm:2x4", ("slurm",)))
    'slurm:2x4'
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise SpecError(
            complaint("--as", "no launcher, nodes and ranks per node", got=text, expected="slurm:2x4")
        )
    found = Shape(match[1], int(match[2]), int(match[3]))
    if found.launcher not in known:
        raise SpecError(
            complaint("--as", "no such launcher", got=found.launcher, expected=f"one of {', '.join(known)}")
        )
    if not 0 < found.size <= _MOST_RANKS:
        raise SpecError(complaint("--as", "not a number of ranks", got=text, expected=f"1 to {_MOST_RANKS}"))
    return found
