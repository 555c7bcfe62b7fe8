from __future__ import annotations

import pytest

from jobkit.env.settings import Settings, settings
from jobkit.errors import LaunchError


def test_nothing_is_handed_down_by_default() -> None:
    assert settings({}) == Settings(None, None, 1, 0, False, "")


def test_every_setting_is_read() -> None:
    environ = {
        "JOBKIT_PORTS": "20000-20999",
        "JOBKIT_NCCL_PORT": "12345",
        "JOBKIT_CONNECTIONS_PER_IP": "2",
        "JOBKIT_GPUS_PER_RANK": "1",
        "JOBKIT_SHARE_GPUS": "1",
        "JOBKIT_SPEC_HASH": "abc",
        "JOBKIT_JACCL_HOSTFILE": "/h.json",
    }
    assert settings(environ) == Settings((20000, 20999), 12345, 2, 1, True, "abc", "/h.json")


@pytest.mark.parametrize("text", ["5", "9-5", "a-b", "0-9", "1-65536", "-"])
def test_a_range_that_is_none_is_named(text: str) -> None:
    with pytest.raises(LaunchError, match="JOBKIT_PORTS: not a range of ports"):
        settings({"JOBKIT_PORTS": text})


def test_a_count_that_is_none_is_named() -> None:
    with pytest.raises(LaunchError, match="JOBKIT_GPUS_PER_RANK: not a count, got 'one'"):
        settings({"JOBKIT_GPUS_PER_RANK": "one"})
