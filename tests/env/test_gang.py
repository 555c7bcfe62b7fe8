from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable

import pytest

from jobkit.env.gang import AgentLink, Report, differences, from_json, to_json
from jobkit.errors import LaunchError

Make = Callable[..., Report]


def test_a_report_survives_json(make_report: Make) -> None:
    report = make_report(3, ring=((1, 2), (3, 4)))
    assert from_json(json.loads(json.dumps(to_json(report)))) == report


def test_equal_ranks_do_not_differ(make_report: Make) -> None:
    assert differences((make_report(0), make_report(1))) == ""


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "jobkit",
            "0.0.9",
            "different versions of jobkit: 0.1.0 on rank 0 (node-1); 0.0.9 on rank 1 (node-1)",
        ),
        ("mlx", "", "different versions of mlx: 0.32.0 on rank 0 (node-1); none on rank 1 (node-1)"),
        ("spec", "abc", "different specs: none on rank 0 (node-1); abc on rank 1 (node-1)"),
    ],
)
def test_what_differs_is_named_with_its_ranks(make_report: Make, name: str, value: str, message: str) -> None:
    assert message in differences((make_report(0), make_report(1, **{name: value})))


def agent(ours: socket.socket, answer: dict[str, object]) -> list[dict[str, object]]:
    """Play the agent: take one message, give one answer."""
    got = json.loads(ours.recv(int.from_bytes(ours.recv(4), "big")))
    data = json.dumps(answer).encode()
    for part in (len(data).to_bytes(4, "big"), data[:3], data[3:]):
        ours.sendall(part)
    return [got]


def test_a_rank_reports_and_gets_the_table(make_report: Make) -> None:
    ours, theirs = socket.socketpair()
    rows = [to_json(make_report(0)), to_json(make_report(1))]
    with ours:
        thread = threading.Thread(target=agent, args=(ours, {"reports": rows, "token": "secret"}))
        thread.start()
        link = AgentLink(theirs.detach())
        table = link.meet(make_report(1))
        thread.join()
        link.close()
    assert table.reports == (make_report(0), make_report(1))
    assert table.token == "secret"


def test_an_agent_that_is_gone_is_an_error(make_report: Make) -> None:
    ours, theirs = socket.socketpair()
    link = AgentLink(theirs.detach())
    ours.close()
    with pytest.raises(LaunchError, match="the agent of this host is gone"):
        link.meet(make_report(0))
    link.close()
