from __future__ import annotations

import signal

import pytest

from jobkit.jobs import interrupts


def test_term_is_raised_like_an_interrupt_and_only_inside() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt) as caught, interrupts.terminable():
        signal.raise_signal(signal.SIGTERM)
    assert isinstance(caught.value, interrupts.Terminated)
    assert caught.value.signum == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_other_signals_are_raised_too_unless_they_are_ignored() -> None:
    with pytest.raises(interrupts.Terminated), interrupts.terminable(signal.SIGUSR1):
        signal.raise_signal(signal.SIGUSR1)
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        with interrupts.terminable(signal.SIGUSR1):
            signal.raise_signal(signal.SIGUSR1)
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), interrupts.deferred():
        signal.raise_signal(signal.SIGINT)
        done.append("all of it")
    assert done == ["all of it"]


def test_without_an_interrupt_nothing_is_raised() -> None:
    with interrupts.terminable(), interrupts.deferred():
        pass


def test_a_term_that_was_held_back_is_raised_as_one() -> None:
    with (
        pytest.raises(interrupts.Terminated),
        interrupts.terminable(),
        interrupts.deferred(),
    ):
        signal.raise_signal(signal.SIGTERM)
