"""What carries a connection decides its congestion control, unless the user does."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobkit.native import _core

SYSTEM = Path("/proc/sys/net/ipv4/tcp_congestion_control")
Threads = Callable[..., list[Any]]

pytestmark = pytest.mark.skipif(not SYSTEM.exists(), reason="the congestion control is Linux's")


def said(threads: Threads, capfd: pytest.CaptureFixture[str], **options: Any) -> list[str]:
    threads(2, lambda group: group.barrier(), verbose=True, shared_memory=False, **options)
    return capfd.readouterr().err.splitlines()


def test_connections_within_a_host_use_reno(threads: Threads, capfd: pytest.CaptureFixture[str]) -> None:
    lines = said(threads, capfd)

    assert "[ring] rank 0 of 2: rank 1: 1 TCP connection over loopback with reno" in lines
    assert "[ring] rank 1 of 2: rank 0: 1 TCP connection over loopback with reno" in lines


def test_parallel_connections_are_told(threads: Threads, capfd: pytest.CaptureFixture[str]) -> None:
    lines = said(threads, capfd, mode="hostfile", per_rank=2)

    assert "[ring] rank 0 of 2: rank 1: 2 TCP connections over loopback with reno" in lines


def test_the_system_s_congestion_control_may_be_kept(
    threads: Threads, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = said(threads, capfd, congestion="system")

    expected = SYSTEM.read_text().strip()
    assert f"[ring] rank 0 of 2: rank 1: 1 TCP connection over loopback with {expected}" in lines


@pytest.mark.parametrize("shared_memory", [False, True])
def test_one_that_the_system_lacks_is_an_error(threads: Threads, shared_memory: bool) -> None:
    options = {"shared_memory": shared_memory, "congestion": "none-such"}
    results = threads(2, lambda group: group.barrier(), check=False, **options)

    for error in results:
        assert isinstance(error, _core.Error)
        assert "congestion control: not available, got 'none-such'" in str(error)


VETH = """
import sys
from jobkit.native import _core
hosts = [["10.79.0.1:5000"], ["10.79.0.2:5000"]]
rank = int(sys.argv[1])
group = _core.connect(rank, hosts, mode="gang", job="j", epoch=0, token=b"t", connect_timeout_s=20.0,
                      timeout_s=20.0, heartbeat_s=1.0, verbose=True)
group.barrier()
group.close()
"""


def test_a_veth_pair_is_known_as_one() -> None:
    spaces = [f"jkv{os.getpid() % 10000}-{rank}" for rank in range(2)]

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    with contextlib.ExitStack() as undo:
        try:
            for space in spaces:
                ip("netns", "add", space)
                undo.callback(ip, "netns", "del", space)
            ip(
                "link",
                "add",
                "end0",
                "netns",
                spaces[0],
                "type",
                "veth",
                "peer",
                "name",
                "end1",
                "netns",
                spaces[1],
            )
            for rank, space in enumerate(spaces):
                ip("-n", space, "addr", "add", f"10.79.0.{rank + 1}/24", "dev", f"end{rank}")
                ip("-n", space, "link", "set", f"end{rank}", "up")
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no network namespaces here: {error}")
        ranks = [
            subprocess.Popen(
                ["ip", "netns", "exec", space, sys.executable, "-c", VETH, str(rank)],
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank, space in enumerate(spaces)
        ]
        lines = [rank.communicate(timeout=60)[1] for rank in ranks]

    assert "rank 0 of 2: rank 1: 1 TCP connection over veth with reno" in lines[0]
    assert "rank 1 of 2: rank 0: 1 TCP connection over veth with reno" in lines[1]
