from __future__ import annotations

import pytest

from jobkit.env.forwarding import ECHO_S, Forwarding

TERM, USR1 = 15, 10
LATER = 5.0 + 2 * ECHO_S


def test_a_signal_that_only_this_process_got_is_passed_on_after_a_moment() -> None:
    forwarding = Forwarding()
    forwarding.came(TERM, 5.0)
    assert forwarding.due(5.0) == []
    assert forwarding.patience(5.0) == pytest.approx(ECHO_S)
    assert forwarding.due(LATER) == [TERM]
    assert forwarding.due(LATER) == []
    assert forwarding.patience(LATER) is None


@pytest.mark.parametrize("order", ["came seen", "seen came"])
def test_a_signal_that_reached_all_is_not_passed_on_whoever_got_it_first(order: str) -> None:
    forwarding = Forwarding()
    for word in order.split():
        getattr(forwarding, word)(TERM, 5.0)
        forwarding.due(5.0)
    assert forwarding.due(LATER) == []


def test_signals_that_the_system_joined_into_one_for_the_witness_have_all_reached_it() -> None:
    forwarding = Forwarding()
    for _ in range(2):
        forwarding.came(USR1, 5.0)
    forwarding.seen(USR1, 5.0)
    assert forwarding.due(LATER) == []


def test_another_signal_is_no_answer() -> None:
    forwarding = Forwarding()
    forwarding.came(TERM, 5.0)
    forwarding.seen(USR1, 5.0)
    assert forwarding.due(LATER) == [TERM]


def test_what_only_the_witness_got_is_forgotten() -> None:
    forwarding = Forwarding()
    forwarding.seen(TERM, 5.0)
    assert forwarding.due(7.0) == []
    forwarding.came(TERM, 7.0)
    assert forwarding.due(8.0) == [TERM]
