from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobkit.env.facts import facts
from jobkit.errors import LaunchError


def test_the_host_is_this_one() -> None:
    assert facts({}).host == os.uname().nodename


def test_a_hostfile_gives_a_host_per_rank(tmp_path: Path) -> None:
    path = tmp_path / "hosts.json"
    path.write_text('[["10.0.0.1:5000", "10.0.1.1:5000"], ["name:5000"], ["[::1]:5000"]]')
    assert facts({"MLX_HOSTFILE": str(path)}).hostfile_hosts == ("10.0.0.1", "name", "[::1]")


@pytest.mark.parametrize("text", ["", "not JSON", "7", '[["a:1"], []]', '{"hosts": 1}'])
def test_a_file_of_another_shape_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "hosts.json"
    path.write_text(text)
    with pytest.raises(LaunchError, match=f"MLX_HOSTFILE={path}: not a hostfile"):
        facts({"MLX_HOSTFILE": str(path)})


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(LaunchError, match="MLX_HOSTFILE=/no/such/file: not a hostfile"):
        facts({"MLX_HOSTFILE": "/no/such/file"})
