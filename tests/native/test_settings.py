"""The settings of the layer."""

from __future__ import annotations

import pytest

from jobkit.errors import BackendError
from jobkit.native.settings import Settings, integer, settings


def test_an_empty_environment_gives_the_defaults() -> None:
    assert settings({}) == Settings(timeout_s=300, connect_timeout_s=300, heartbeat_s=1, verbose=False)


def test_every_variable_is_read() -> None:
    environ = {
        "JOBKIT_TIMEOUT_S": "1.5",
        "JOBKIT_CONNECT_TIMEOUT_S": " 20 ",
        "JOBKIT_HEARTBEAT_S": "0",
        "JOBKIT_SHM": "0",
        "MLX_RING_VERBOSE": "1",
        "JOBKIT_CHECK": "1",
        "JOBKIT_CONGESTION": "cubic",
        "JOBKIT_SCHEDULE": "all_sum=ring",
        "JOBKIT_SIMD": " avx2 ",
    }
    assert settings(environ) == Settings(
        timeout_s=1.5,
        connect_timeout_s=20,
        heartbeat_s=0,
        shared_memory=False,
        verbose=True,
        checks=True,
        congestion="cubic",
        schedules="all_sum=ring",
        simd="avx2",
    )


@pytest.mark.parametrize("text", ["", "0"])
def test_the_ring_is_silent_and_checks_nothing_without_a_yes(text: str) -> None:
    assert not settings({"MLX_RING_VERBOSE": text}).verbose
    assert not settings({"JOBKIT_CHECK": text}).checks


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "1s"])
def test_what_is_no_number_of_seconds_is_refused_by_name(text: str) -> None:
    with pytest.raises(BackendError, match=f"JOBKIT_TIMEOUT_S: not a number of seconds, got '{text}'"):
        settings({"JOBKIT_TIMEOUT_S": text})


def test_a_heartbeat_that_nobody_could_answer_in_time_is_refused() -> None:
    expected = "JOBKIT_HEARTBEAT_S: too short, got '0.001', expected 0, or at least 0.1 seconds"
    with pytest.raises(BackendError, match=expected):
        settings({"JOBKIT_HEARTBEAT_S": "0.001"})


@pytest.mark.parametrize(("text", "expected"), [("", True), ("1", True), (" 0", False)])
def test_memory_is_shared_unless_somebody_says_no(text: str, expected: bool) -> None:
    assert settings({"JOBKIT_SHM": text}).shared_memory is expected


def test_an_answer_that_is_neither_yes_nor_no_is_refused() -> None:
    with pytest.raises(BackendError, match="JOBKIT_SHM: neither on nor off, got 'off', expected 0 or 1"):
        settings({"JOBKIT_SHM": "off"})


def test_a_count_is_none_where_it_is_not_set() -> None:
    assert integer({}, "MLX_RANK") is None
    assert integer({"MLX_RANK": ""}, "MLX_RANK") is None
    assert integer({"MLX_RANK": "07"}, "MLX_RANK") == 7


@pytest.mark.parametrize("text", ["one", "-1", "1.0", "²"])
def test_what_is_no_count_is_refused_by_name(text: str) -> None:
    with pytest.raises(BackendError, match="MLX_RANK: not a number"):
        integer({"MLX_RANK": text}, "MLX_RANK")
