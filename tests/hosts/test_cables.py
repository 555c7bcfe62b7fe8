"""Cables from what the ports of hosts say."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobkit.errors import SpecError
from jobkit.hosts.cables import connect
from jobkit.hosts.model import Cable, End, Host, Port, Topology


@pytest.mark.parametrize(
    ("name", "count"), [("mesh4", 6), ("mesh4-broken", 5), ("ring4", 4), ("pair2-double", 2), ("line3", 2)]
)
def test_the_cables_of_the_recorded_layouts(layout: Callable[..., Topology], name: str, count: int) -> None:
    found = layout(name)

    assert (len(found.cables), found.remarks) == (count, ())


def test_a_mac_without_thunderbolt_is_told() -> None:
    assert connect((Host("a"),)).remarks == ("a: has no Thunderbolt port",)


def test_cables_are_found_from_both_ends_and_counted_once() -> None:
    hosts = (
        Host("a", (Port("en10", "A2", "B1"), Port("en2", "A1", "B2", speed="80 Gb/s"))),
        Host("b", (Port("en2", "B1", "A2"), Port("en3", "B2", "A1"))),
    )

    assert connect(hosts).cables == (
        Cable((End(0, "en2"), End(1, "en3")), "80 Gb/s"),
        Cable((End(0, "en10"), End(1, "en2"))),
    )


def test_a_cable_to_a_machine_that_was_not_named_is_reported(layout: Callable[..., Topology]) -> None:
    found = layout("ring4", "hostname1", "hostname2", "hostname3")

    assert len(found.cables) == 2
    assert found.remarks == (
        "hostname1: en3: a cable leads to a machine that is not among the hosts (hostname4)",
        "hostname3: en2: a cable leads to a machine that is not among the hosts (hostname4)",
    )


def test_ends_that_contradict_each_other_are_no_cable() -> None:
    hosts = (
        Host("a", (Port("en2", "A", "B"), Port("en3", "C", "D"), Port("en4", "D", "C"))),
        Host("b", (Port("en2", "B"),)),
    )

    found = connect(hosts)

    assert found.cables == ()
    assert found.remarks == (
        "a: en2: leads to en2 of b, which says otherwise; the cable is not counted",
        "a: en3: a cable leads to en4 of a, the same machine",
        "a: en4: a cable leads to en3 of a, the same machine",
    )


def test_one_machine_under_two_names_is_refused() -> None:
    with pytest.raises(SpecError, match="b: en2 is en2 of a: the same machine"):
        connect((Host("a", (Port("en2", "A"),)), Host("b", (Port("en2", "A"),))))
