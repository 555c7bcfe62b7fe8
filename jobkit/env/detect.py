"""Find the launcher that started this process, and the place it gave it."""

from __future__ import annotations

from collections.abc import Mapping

from jobkit.env.data import dataclass
from jobkit.env.launchers import env, foreign, jobkit
from jobkit.env.placement import Facts, Found, NotARank, Placement

# In the order in which they are asked: jobkit's agent sets torch's and MLX's variables itself, so it comes
# first; plain variables come before launchers whose ranks cannot be brought together, since whoever set them
# has done that.
DETECTORS = (("jobkit", jobkit.detect), ("env", env.detect), ("foreign", foreign.detect))

NO_LAUNCHER = "no launcher's variables are set: rank 0 of 1"


@dataclass(frozen=True)
class Detection:
    """What was found.

    Attributes:
        launcher: Its name, or None.
        reason: Why, in a sentence.
        found: What the launcher's variables say; None where this process is not a rank.
        evidence: What each launcher's detector said, in the order asked.
    """

    launcher: str | None
    reason: str
    found: Found | None
    evidence: tuple[tuple[str, str], ...]

    @property
    def placement(self) -> Placement | None:
        """This process's place; None where it is not a rank."""
        return None if self.found is None else self.found.placement


def detect(environ: Mapping[str, str], facts: Facts) -> Detection:
    """Return the first launcher that calls this process its own.

    Raises:
        LaunchError: A variable of the launcher found is no number, or contradicts another.
    """
    found: tuple[str, Found | NotARank] | None = None
    evidence = []
    for name, ask in DETECTORS:
        answer = ask(environ, facts)
        evidence.append((name, _said(answer)))
        if answer is not None and found is None:
            found = (name, answer)
    return _detection(found, tuple(evidence), facts)


def _said(answer: Found | NotARank | None) -> str:
    if answer is None:
        return "not found"
    return answer.reason if isinstance(answer, NotARank) else _place(answer.placement)


def _place(placement: Placement) -> str:
    return f"rank {placement.rank} of {placement.size}"


def _detection(
    found: tuple[str, Found | NotARank] | None, evidence: tuple[tuple[str, str], ...], facts: Facts
) -> Detection:
    if found is None:
        return Detection(None, NO_LAUNCHER, Found(Placement(0, 1, 0, 1, 0, 1, (facts.host,))), evidence)
    name, answer = found
    if isinstance(answer, NotARank):
        return Detection(None, answer.reason, None, evidence)
    return Detection(name, f"{name} says {_place(answer.placement)}", answer, evidence)
