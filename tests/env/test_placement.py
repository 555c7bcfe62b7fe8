from __future__ import annotations

from jobkit.env.placement import Facts, NotARank, Placement


def test_a_placement_prints_and_compares() -> None:
    placement = Placement(1, 2, 1, 2, 0, 1, ("a", None))
    assert placement == Placement(1, 2, 1, 2, 0, 1, hosts=("a", None))
    assert "rank=1" in repr(placement)


def test_facts_are_absent_unless_read() -> None:
    assert Facts() == Facts(host=None, hostfile_hosts=None)


def test_not_a_rank_has_its_reason() -> None:
    assert NotARank("a batch step").reason == "a batch step"
