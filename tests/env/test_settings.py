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


@pytest.mark.parametrize("text", ["5", "9-5", "a-b", "0-9", "1-65536", "-", "1-²", "1-" + "9" * 5000])
def test_a_range_that_is_none_is_named(text: str) -> None:
    with pytest.raises(LaunchError, match="JOBKIT_PORTS: not a range of ports"):
        settings({"JOBKIT_PORTS": text})


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("JOBKIT_GPUS_PER_RANK", "one", "from 0 to 1024"),
        ("JOBKIT_GPUS_PER_RANK", "-1", "from 0 to 1024"),
        ("JOBKIT_GPUS_PER_RANK", "²", "from 0 to 1024"),
        ("JOBKIT_CONNECTIONS_PER_IP", "0", "from 1 to 64"),
        ("JOBKIT_CONNECTIONS_PER_IP", "9" * 5000, "from 1 to 64"),
        ("JOBKIT_NCCL_PORT", "65536", "from 0 to 65535"),
        ("JOBKIT_SHARE_GPUS", "yes", "from 0 to 1"),
    ],
)
def test_a_number_that_is_none_is_named(name: str, text: str, expected: str) -> None:
    with pytest.raises(
        LaunchError, match=f"{name}: not a number that it can be, got '{text[:9]}.*{expected}"
    ):
        settings({name: text})
