"""`jobkit hosts check` of this machine; of others over SSH in tests/clusters."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobkit import __version__


@pytest.fixture
def hostfile(work: Path) -> Callable[..., str]:
    """Write a hostfile."""

    def write(*rows: dict[str, Any], **more: Any) -> str:
        (work / "h.json").write_text(json.dumps({**more, "hosts": list(rows)} if more else list(rows)))
        return "h.json"

    return write


def test_this_machine_alone(jobkit: Callable[..., Any], hostfile: Callable[..., str]) -> None:
    done = jobkit("hosts", "check", "--hostfile", hostfile({"ssh": "127.0.0.1", "ips": ["127.0.0.1"]}))

    assert (done.status, done.err) == (0, "")
    head, row = (line.split() for line in done.out.splitlines())
    assert head == ["HOST", "PYTHON", "JOBKIT", "MLX", "CLOCK"]
    assert (row[0], row[2], row[-1]) == ("127.0.0.1", __version__, "ms")


def test_a_table_of_who_reaches_whom(jobkit: Callable[..., Any], hostfile: Callable[..., str]) -> None:
    rows = [{"ssh": "127.0.0.1", "ips": ["127.0.0.1"]}, {"ssh": "localhost", "ips": ["127.0.0.3"]}]

    done = jobkit("hosts", "check", "--hostfile", hostfile(*rows))

    table = [line.split() for line in done.out.splitlines()[4:]]
    assert table[0] == ["FROM", "\\", "TO", "127.0.0.1", "localhost"]
    assert [row[0] for row in table[1:]] == ["127.0.0.1", "localhost"]
    assert all(row[2] in ("us", "ms") for row in table[1:])


def test_what_would_fail_is_status_1_and_in_the_json(
    jobkit: Callable[..., Any], hostfile: Callable[..., str]
) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        row = {"ssh": "127.0.0.1", "ips": ["127.0.0.1"], "rdma": [None, "no_such"]}
        path = hostfile(row, {"ssh": "127.0.0.1", "ips": [], "rdma": ["no_such", None]}, backend="jaccl")
        done = jobkit("hosts", "check", "--hostfile", path, "--json", "-p", str(port))

    assert done.status == 1
    assert done.json["findings"] == [
        f"127.0.0.1: in use are ports that mlx.launch would take: {port} (--starting-port)",
        "127.0.0.1: RDMA device no_such is not there",
    ]
    assert done.json["hosts"][0]["taken"] == [port]
    assert done.json["round_trip_us"] == {"127.0.0.1": {}}


def test_the_documents_list_shape_is_jaccls(jobkit: Callable[..., Any], hostfile: Callable[..., str]) -> None:
    rows = [
        {"ssh": "127.0.0.1", "ips": ["127.0.0.1"], "rdma": [None, None]},
        {"ssh": "localhost", "rdma": [None, None]},
    ]

    assert jobkit("hosts", "check", "--hostfile", hostfile(*rows)).err == ""
    done = jobkit("hosts", "check", "--hostfile", hostfile(*rows), "--backend", "ring")

    assert done.status == 1
    assert done.err == (
        "jobkit: error: localhost: the hostfile has no address of it, and 127.0.0.1 has to reach it\n"
    )


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("-p", "65536"), "--starting-port: not ports"),
        (("-p", "0"), "--starting-port: not ports"),
        (("--connections-per-ip", "0"), "--starting-port: not ports"),
        (("--backend", "tcp"), "--backend: unknown name, got 'tcp', expected one of ring, jaccl, jaccl-ring"),
        (("--hosts", "a"), "cannot be given together with --hosts"),
    ],
)
def test_flags_that_cannot_be_honoured_are_refused(
    jobkit: Callable[..., Any], hostfile: Callable[..., str], words: tuple[str, ...], wrong: str
) -> None:
    done = jobkit(
        "hosts", "check", "--hostfile", hostfile({"ssh": "127.0.0.1", "ips": ["127.0.0.1"]}), *words
    )

    assert (done.status, done.out) == (2, "")
    assert wrong in done.err
