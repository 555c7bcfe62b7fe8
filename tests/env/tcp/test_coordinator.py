from __future__ import annotations

import os
import resource
import socket
import threading
import time
from collections.abc import Callable

import pytest
from env.tcp.threads import TOKEN, Gang

from jobkit.env.gang import Table
from jobkit.env.tcp import callers, wire
from jobkit.env.tcp.coordinator import Coordinator
from jobkit.env.tcp.tokens import OPEN, Token
from jobkit.errors import LaunchError

Make = Callable[..., Gang]


def tables(gang: Gang) -> list[Table]:
    met = gang.wait()
    assert all(isinstance(table, Table) for table in met.values()), met
    return [met[rank] for rank in sorted(met)]  # type: ignore[misc]


def error(gang: Gang, rank: int) -> str:
    met = gang.wait()[rank]
    assert isinstance(met, LaunchError), met
    return str(met)


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.005)


def test_everybody_gets_the_same_table_and_secret(make_gang: Make) -> None:
    gang = make_gang(4)
    gang.coordinate()
    for rank in (3, 1, 2):
        gang.join(rank)
    first, *others = tables(gang)
    assert [report.rank for report in first.reports] == [0, 1, 2, 3]
    assert all(table == first for table in others)
    assert len(first.token) == 64


def test_the_coordinators_host_is_where_the_other_hosts_found_it(make_gang: Make) -> None:
    gang = make_gang(3)
    gang.coordinate(addresses=("10.9.9.9",), node="a")
    gang.join(1, addresses=("10.9.9.9",), node="a")
    gang.join(2, addresses=("10.0.0.2",), node="b")
    reports = tables(gang)[0].reports
    assert [report.addresses for report in reports] == [("127.0.0.1",), ("127.0.0.1",), ("10.0.0.2",)]


def test_two_meetings_with_one_token_have_different_secrets(make_gang: Make) -> None:
    secrets = []
    for _ in range(2):
        gang = make_gang(2)
        gang.coordinate()
        gang.join(1)
        secrets.append(tables(gang)[0].token)
    assert secrets[0] != secrets[1]


def test_who_is_missing_is_named_on_every_rank(make_gang: Make) -> None:
    gang = make_gang(4)
    gang.coordinate(timeout_s=1.0)
    gang.join(2)
    assert "ranks 1, 3 of 4 did not come within 1 s" in error(gang, 0)
    assert "ranks 1, 3 of 4 did not come within 1 s" in error(gang, 2)


def test_a_rank_that_went_is_waited_for_and_named(make_gang: Make) -> None:
    gang = make_gang(3)
    gang.coordinate(timeout_s=2.0)
    with Leaving(gang, rank=1):
        pass
    assert "ranks 1 (of elsewhere; it came and went), 2 of 3 did not come" in error(gang, 0)


def test_a_rank_that_comes_again_takes_its_place(make_gang: Make) -> None:
    gang = make_gang(3)
    gang.coordinate()
    with Leaving(gang, rank=1):
        pass
    until(lambda: 1 not in gang.coordinator._reports)
    gang.join(1)
    gang.join(2)
    assert len(tables(gang)) == 3


class Leaving:
    """Report as a rank would, by hand, and hang up at the end of the block."""

    def __init__(self, gang: Gang, rank: int, clock: float | None = None, reports: int = -1) -> None:
        self.connection = socket.create_connection(("127.0.0.1", gang.port))
        self.inbox = wire.Inbox(wire.MOST)
        nonce = os.urandom(16).hex()
        hello = {"job": gang.job, "attempt": 1, "size": gang.size, "rank": rank, "kind": TOKEN.kind}
        first = wire.encode({**hello, "host": "elsewhere", "pid": 1, "nonce": nonce})
        self.send(first, wire.NOBODY)
        _, challenge = self.receive()
        nonces = wire.digest(first) + wire.decode(challenge)["nonce"].encode()
        from jobkit.env.gang import to_json

        report = wire.encode(
            {
                "report": to_json(gang.make_report(rank if reports < 0 else reports)),
                "clock": str(clock or time.time()),
            }
        )
        self.send(report, wire.code(TOKEN.secret, wire.RANK, nonces, report))
        # Nothing is sent back before all are there, or it was turned away.
        until(lambda: rank in gang.coordinator._reports or 0 in gang.met or bool(gang.said))

    def send(self, payload: bytes, code: bytes) -> None:
        self.connection.sendall(wire.frame(payload, code))

    def receive(self) -> tuple[bytes, bytes]:
        while (message := self.inbox.take()) is None:
            self.inbox.put(self.connection.recv(4096))
        return message

    def __enter__(self) -> Leaving:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()


def test_two_processes_of_one_rank_are_told(make_gang: Make) -> None:
    gang = make_gang(3)
    gang.coordinate(timeout_s=3.0)
    gang.join(1)
    until(lambda: 1 in gang.coordinator._reports)
    second = Gang.__new__(Gang)
    second.__dict__ = {**gang.__dict__, "met": {}, "threads": []}
    second.join(1)
    assert "two processes say that they are rank 1" in error(second, 1)
    assert "rank 2 of 3 did not come" in error(gang, 0)


def test_ranks_that_differ_are_told_before_any_program_starts(make_gang: Make) -> None:
    gang = make_gang(2)
    gang.coordinate()
    gang.join(1, mlx="0.31.0")
    for rank in (0, 1):
        assert "different versions of mlx: 0.32.0 on rank 0" in error(gang, rank)


@pytest.mark.parametrize(("off_s", "said"), [(3600, "3600 s ahead of"), (-40, "40 s behind"), (0, "")])
def test_a_clock_that_is_off_is_reported(make_gang: Make, off_s: int, said: str) -> None:
    gang = make_gang(2)
    gang.coordinate()
    with Leaving(gang, rank=1, clock=time.time() + off_s):
        pass
    tables(gang)
    clocks = [line for line in gang.said if "the clock of elsewhere is" in line]
    assert len(clocks) == bool(said)
    assert all(said in line for line in clocks)


def test_another_token_is_not_let_in(make_gang: Make) -> None:
    gang = make_gang(2)
    gang.coordinate(timeout_s=1.0)
    gang.join(1, token=Token(TOKEN.kind, b"x" * 32, "/other/token"), timeout_s=0.5)
    assert "it is of this job, and has another token" in error(gang, 1)
    assert "rank 1 of 2 did not come" in error(gang, 0)


def test_a_guess_without_the_token_is_turned_away(make_gang: Make) -> None:
    gang = make_gang(2)
    gang.coordinate(timeout_s=1.0)
    with socket.create_connection(("127.0.0.1", gang.port)) as guess:
        hello = {"job": gang.job, "attempt": 1, "size": 2, "rank": 1, "kind": TOKEN.kind, "nonce": "0" * 32}
        guess.sendall(wire.frame(wire.encode(hello)))
        assert guess.recv(4096)
        guess.sendall(wire.frame(b"{}", b"0" * 32))
        assert guess.recv(4096) == b""
    assert "rank 1 of 2 did not come" in error(gang, 0)
    assert any("it says that it is rank 1, and has another token" in line for line in gang.said)


def test_a_report_is_of_the_rank_that_said_hello(make_gang: Make) -> None:
    gang = make_gang(3)
    gang.coordinate(timeout_s=1.0)
    with Leaving(gang, rank=1, reports=2):
        assert "ranks 1, 2 of 3 did not come" in error(gang, 0)
    assert any("it sent another rank's report" in line for line in gang.said)


def test_what_a_stranger_says_reaches_a_terminal_as_plain_text() -> None:
    assert wire.printable("\x1b[2Jred\n" + "x" * 100) == "\\x1b[2Jred\\n" + "x" * 72


def test_another_kind_of_token_is_told(make_gang: Make) -> None:
    gang = make_gang(2)
    gang.coordinate(timeout_s=1.0)
    gang.join(1, token=Token(OPEN, b"\0" * 32, ""), timeout_s=0.5)
    assert "it is the coordinator of ranks known by home" in error(gang, 1)


@pytest.mark.parametrize(
    "rubbish",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\0\5" + bytes(32) + b"hello",
        wire.frame(b"[1, 2]"),
        wire.frame(b"[" * 8000),
        wire.frame(wire.encode({"job": "job-1", "attempt": 1, "size": 2, "rank": 7, "kind": "home"})),
        wire.frame(
            wire.encode({"job": "job-1", "attempt": 1, "size": 2, "rank": 1, "kind": "home", "nonce": 1})
        ),
        wire.frame(b"\xff\xfe"),
        b"",
    ],
)
def test_strangers_disturb_nobody(make_gang: Make, rubbish: bytes) -> None:
    gang = make_gang(2)
    gang.coordinate()
    with socket.create_connection(("127.0.0.1", gang.port)) as stranger:
        stranger.sendall(rubbish)
        gang.join(1)
        assert len(tables(gang)) == 2


def test_callers_that_say_nothing_are_bounded(make_gang: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "_STRANGERS", 8)
    gang = make_gang(2)
    gang.coordinate()
    silent = [socket.create_connection(("127.0.0.1", gang.port)) for _ in range(40)]
    gang.join(1)
    assert len(tables(gang)) == 2
    assert sum("too many callers" in line for line in gang.said) == 16
    assert any(line.endswith("of further ones nothing is said") for line in gang.said)
    for connection in silent:
        connection.close()


def test_the_limit_of_open_files_is_what_it_was(make_gang: Make) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    gang = make_gang(1)
    gang.coordinate()
    tables(gang)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


def test_a_port_that_is_taken_is_passed_over(make_gang: Make) -> None:
    first, second = make_gang(2, "job-1"), make_gang(2, "job-2")
    assert first.port != second.port
    first.coordinate()
    second.coordinate()
    second.join(1, ports=(first.port, second.port))
    assert len(tables(second)) == 2
    assert any("it is the coordinator of job job-1" in line for line in second.said), second.said
    first.join(1)
    assert len(tables(first)) == 2


def test_without_a_free_port_it_says_which(make_gang: Make) -> None:
    gang = make_gang(2)
    where = gang.where(0)
    only = type(where)(**{**{n: getattr(where, n) for n in where.__match_args__}, "ports": (gang.port,)})
    with pytest.raises(LaunchError, match=f"every port {gang.port} for the coordinator is taken"):
        Coordinator(only, TOKEN, gang.said.append)


@pytest.mark.slow
def test_a_thousand_ranks_meet(make_gang: Make) -> None:
    size = 1000
    gang = make_gang(size)
    gang.coordinate()
    crowd: list[Leaving] = []

    def answer(ranks: range) -> None:
        crowd.extend(Leaving(gang, rank) for rank in ranks)

    threads = [threading.Thread(target=answer, args=(range(1 + i, size, 4),)) for i in range(4)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for member in crowd:
        member.inbox.most = wire.MOST * size
        _, table = member.receive()
        assert len(wire.decode(table)["reports"]) == size
        member.connection.close()
    assert len(tables(gang)[0].reports) == size
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mib < 256, "the coordinator holds one copy of the table, and what sockets have not taken"
