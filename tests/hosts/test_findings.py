"""What would fail."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobkit.hosts import findings
from jobkit.hosts.checking import Answer, Asked, Report

GOOD = Answer("a", python="3.12.1", program="/py", jobkit="1.0", mlx="0.32", listens={"10.0.0.1": 5000})
ASKED = (Asked("a", False, ("10.0.0.1",)), Asked("b", False, ("10.0.0.2",)))


def found(*answers: Answer, **ways: str | float) -> tuple[str, ...]:
    cells = ((({}), {"10.0.0.2": ways.get("ab", 9.0)}), ({"10.0.0.1": ways.get("ba", 9.0)}, {}))
    return findings.find(Report(answers, cells), ASKED, frozenset({(0, 1), (1, 0)}), "1.0")


B = replace(GOOD, name="b", listens={"10.0.0.2": 5000})


def test_nothing_is_wrong() -> None:
    assert found(GOOD, replace(B, python="3.11", skew_s=0.9)) == ()


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"error": "b: cannot be reached"}, "b: cannot be reached"),
        ({"jobkit": None}, "b: /py has no jobkit: /py -m pip install jobkit==1.0"),
        ({"jobkit": "0.9"}, "b: jobkit 0.9, and 1.0 here: they have to be the same"),
        ({"mlx": None}, "different versions of mlx: 0.32 on a, none on b"),
        ({"taken": (7, 8)}, "b: in use are ports that mlx.launch would take: 7, 8 (--starting-port)"),
        ({"devices": {"rxe0": "is DOWN"}}, "b: RDMA device rxe0 is DOWN"),
        ({"bridge": "bridge0"}, "b: bridge0 is up, which keeps cables from RDMA: sudo ifconfig bridge0 down"),
        ({"listens": {"10.0.0.2": "is not one of its own"}}, "b: 10.0.0.2 is not one of its own"),
        ({"skew_s": 3.21, "skew_error_s": 0.1}, "b: its clock is 3.2 s ahead of this machine's"),
        ({"skew_s": -3.21, "skew_error_s": 0.1}, "b: its clock is 3.2 s behind this machine's"),
    ],
)
def test_what_is_wrong_on_a_host(change: dict[str, object], finding: str) -> None:
    assert found(GOOD, Answer(**{**vars(B), **change})) == (finding,)


def test_a_clock_that_cannot_be_told_is_not_wrong() -> None:
    assert found(GOOD, replace(B, skew_s=3.0, skew_error_s=2.5)) == ()


def test_who_does_not_reach_whom() -> None:
    assert found(GOOD, B, ab="Connection refused") == ("a does not reach b at 10.0.0.2: Connection refused",)
    assert found(replace(GOOD, error="a: gone"), B, ba="refused") == ("a: gone",)


def test_only_who_has_to_is_missed() -> None:
    report = Report((GOOD, B), (({}, {"10.0.0.2": "no"}), ({"10.0.0.1": "no"}, {})))
    assert findings.find(report, ASKED, frozenset({(1, 0)}), "1.0") == ("b does not reach a at 10.0.0.1: no",)
    without = (ASKED[0], Asked("b", False))
    assert findings.find(report, without, frozenset({(0, 1)}), "1.0")[0] == (
        "b: the hostfile has no address of it, and a has to reach it"
    )


def test_who_has_to_reach_whom() -> None:
    assert findings.needed("ring", 3) == {(0, 1), (1, 2), (2, 0)}
    assert findings.needed("jaccl", 3) == findings.needed("jaccl-ring", 3) == {(1, 0), (2, 0)}
    assert len(findings.needed("", 3)) == 6
    assert findings.needed("ring", 1) == findings.needed("", 1) == frozenset()
