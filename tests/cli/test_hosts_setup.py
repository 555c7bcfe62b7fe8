"""How hosts are set up; running the commands is tested over SSH (tests/clusters)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_in_full_every_host_has_commands_and_ways_to_keep_and_to_undo_them(
    jobkit: Callable[..., Any], repository: Path
) -> None:
    layout = str(repository / "tests/data/macs/line3")
    done = jobkit("hosts", "discover", "--from", layout, "--hosts", "a1,a2", "--verbose")

    assert done.status == 0
    heads = [line for line in done.err.splitlines() if line.startswith("# ")]
    assert heads == [
        "# on a1 (until it restarts):",
        "# on a2 (until it restarts):",
        "# to keep it over restarts on a1:",
        "# to take it back on a1:",
        "# to keep it over restarts on a2:",
        "# to take it back on a2:",
    ]
    assert "sudo networksetup -setmanual 'jobkit en2' 192.168.128.1 255.255.255.252\n" in done.err
