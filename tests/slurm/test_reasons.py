from __future__ import annotations

import doctest

import pytest

from jobkit.slurm import reasons


def test_its_examples_hold() -> None:
    assert doctest.testmod(reasons).failed == 0


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("Priority", "waiting behind jobs of a higher priority (Priority)"),
        (
            "ReqNodeNotAvail, UnavailableNodes:gpu-a08",
            "a node that it asks for is not available (ReqNodeNotAvail, UnavailableNodes:gpu-a08)",
        ),
        ("QOSMaxJobsPerUserLimit", "a limit of its QOS is reached (QOSMaxJobsPerUserLimit)"),
        ("QOSGrpNodeLimit", "a limit of its QOS for all jobs together is reached (QOSGrpNodeLimit)"),
        ("AssociationJobLimit", "a limit of its account is reached (AssociationJobLimit)"),
        ("QOSMinGRES", "it asks for less than its QOS wants at least (QOSMinGRES)"),
        ("QOSNotAllowed", "its QOS is not allowed for its account or partition (QOSNotAllowed)"),
        ("AssocNews", "AssocNews"),
        ("", ""),
    ],
)
def test_a_reason_is_told_in_words(code: str, words: str) -> None:
    assert reasons.told(code) == words
