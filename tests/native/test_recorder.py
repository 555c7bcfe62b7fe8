"""Flight recorders: what the ranks did last, read from outside while they run and after they were killed."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobkit.errors import BackendError
from jobkit.native import recorder
from jobkit.native.recorder import Flight, Record

PROGRAM = """
    import os, sys, time
    import numpy as np
    import jobkit.native as dist

    world = dist.init()
    rank = world.rank()
    for _ in range(3):
        dist.all_sum(np.ones(10, np.float32))
    print("ready", flush=True)
"""


class Ranks:
    """Ranks of one job, with a run folder."""

    def __init__(self, folder: Path, ports: list[int], body: str) -> None:
        self.folder = folder / "attempt-1"
        self.folder.mkdir()
        hosts = [[f"127.0.0.1:{port}"] for port in ports]
        (folder / "hosts.json").write_text(json.dumps(hosts))
        source = textwrap.dedent(PROGRAM) + textwrap.dedent(body)
        environ = os.environ | {"MLX_HOSTFILE": str(folder / "hosts.json"), "JOBKIT_RUN_DIR": str(folder)}
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-c", source],
                env=environ | {"MLX_RANK": str(rank)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(len(ports))
        ]
        for process in self.processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", process.communicate()[1]

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()


@pytest.fixture
def start(tmp_path: Path, reserve_ports: Callable[[int], Any]) -> Iterator[Callable[[int, str], Ranks]]:
    """A function: start n ranks that go on with a body after three sums."""
    pytest.importorskip("jobkit.native._core")
    started: list[Ranks] = []

    def make(n: int, body: str) -> Ranks:
        with reserve_ports(n) as ports:
            started.append(Ranks(tmp_path, ports, body))
        return started[-1]

    yield make
    for each in started:
        each.end()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


def test_a_rank_that_never_entered_a_call_is_named_while_the_others_wait(
    start: Callable[[int, str], Ranks], capsys: pytest.CaptureFixture[str]
) -> None:
    ranks = start(3, "time.sleep(60) if rank == 1 else dist.all_max(np.ones(7))")
    folder = str(ranks.folder)

    def is_waiting() -> bool:
        last = [each.records[-1] for each in recorder.read([folder])]
        return [each.state for each in last] == ["waiting", "done", "waiting"]

    until(is_waiting)

    assert recorder.main([folder]) == 0
    said = capsys.readouterr().out
    assert "-> rank 1 never entered all_max #4: its last was all_sum #3, done at " in said
    assert "rank 0 (" in said
    assert "all_max(float64, 7 elements): all_max #4, waiting at " in said
    assert " for rank 1" in said


def test_what_a_killed_rank_did_last_can_still_be_read(start: Callable[[int, str], Ranks]) -> None:
    ranks = start(2, "dist.barrier() if rank == 0 else time.sleep(60)")
    ranks.processes[1].send_signal(signal.SIGKILL)
    ranks.processes[0].wait(60)

    flights = recorder.read([str(ranks.folder)])

    assert [each.records[-1].label() for each in flights] == ["barrier #4", "all_sum #3"]
    assert [each.records[-1].state for each in flights] == ["failed", "done"]
    assert [each.has_left for each in flights] == [True, False]
    assert "barrier #4: rank 1 (" in flights[0].failure
    said = recorder.verdict(flights)
    assert said[0].startswith("rank 0 raised: [ring] rank 0 of 2: barrier #4: rank 1 (")
    assert said[1].startswith("rank 1 never entered barrier #4")


def test_without_a_folder_the_recorder_is_found_in_the_process(
    start: Callable[[int, str], Ranks], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("memory of a process is shown by Linux only")
    monkeypatch.setenv("JOBKIT_ATTEMPT", "77")  # has no folder
    ranks = start(2, "time.sleep(60)")

    flights = recorder.read([str(process.pid) for process in ranks.processes])

    assert [(each.rank, each.size, len(each.records)) for each in flights] == [(0, 2, 3), (1, 2, 3)]
    assert [each.pid for each in flights] == [process.pid for process in ranks.processes]
    assert all(each.job == "" and each.epoch == 0 for each in flights)


def test_a_record_says_what_was_called(start: Callable[[int, str], Ranks]) -> None:
    before = time.time()
    body = """
        dist.send(np.ones(5, np.int64), 1, 9) if rank == 0 else dist.recv(5, "int64", 0, 9)
        dist.broadcast(np.ones((2, 3), np.uint8), 1)
        part = dist.split(0)
        dist.barrier(group=part)
        print("done", flush=True)
        time.sleep(60)
    """
    ranks = start(2, body)
    for process in ranks.processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"

    for flight, call in zip(recorder.read([str(ranks.folder)]), ("send", "recv"), strict=True):
        sums, message, root, split, barrier = flight.records[2:]
        assert (sums.call, sums.dtype, sums.count, sums.seq) == ("all_sum", "float32", 10, 3)
        assert (message.call, message.dtype, message.count, message.tag) == (call, "int64", 5, 9)
        assert message.peer == 1 - flight.rank
        assert (root.signature(), root.seq) == ("broadcast(uint8, 6 elements, root=1)", 4)
        assert (split.call, split.context, barrier.call, barrier.seq) == ("split", 0, "barrier", 1)
        assert flight.groups == {0: (flight.rank, 2), barrier.context: (flight.rank, 2)}
        for each in flight.records:
            assert each.ended is not None
            assert before - 1 < each.began <= each.ended < time.time() + 1


def test_only_the_last_calls_are_kept(start: Callable[[int, str], Ranks]) -> None:
    ranks = start(2, "for _ in range(1100): dist.barrier()\nprint('done', flush=True); time.sleep(60)")
    for process in ranks.processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"

    for flight in recorder.read([str(ranks.folder)]):
        assert [each.number for each in flight.records] == list(range(1103 - 1024 + 1, 1104))
        assert {each.call for each in flight.records} == {"barrier"}


def test_the_file_is_the_owner_s_alone_and_of_a_fixed_size(start: Callable[[int, str], Ranks]) -> None:
    ranks = start(2, "time.sleep(60)")
    for path in ranks.folder.glob("*.flight"):
        status = path.stat()
        assert (status.st_mode & 0o777, status.st_size) == (0o600, 69632)


def record(**changed: Any) -> Record:
    values: dict[str, Any] = {
        "number": 1,
        "context": 0,
        "seq": 1,
        "call": "all_sum",
        "dtype": "float32",
        "count": 4,
        "peer": None,
        "tag": 0,
        "state": "waiting",
        "began": 1.0,
        "ended": None,
        "waits_for": None,
        "n_waits_for": 0,
    }
    return Record(**(values | changed))


def flight(rank: int, *records: Record, size: int = 2, failure: str = "") -> Flight:
    return Flight("f", rank, size, "h", 1, "j", 0, failure, None, False, {0: (rank, size)}, list(records))


def test_calls_that_differ_are_told() -> None:
    said = recorder.verdict([flight(0, record()), flight(1, record(count=1))])
    differ = "rank 0 called all_sum(float32, 4 elements), rank 1 called all_sum(float32, 1 element)"
    assert said == [f"calls differ at #1: {differ}"]


def test_a_rank_without_any_call_and_one_without_a_recording_are_told() -> None:
    assert recorder.verdict([flight(0, record(), size=3), flight(1, size=3)]) == [
        "rank 2 left no recording",
        "rank 1 never entered all_sum #1, nor any collective before it",
    ]


def test_messages_that_wait_are_told() -> None:
    send = record(call="send", peer=1, tag=3, state="waiting")
    (said,) = recorder.verdict([flight(0, send), flight(1)])
    assert said.startswith("rank 0 waited in send to rank 1 with tag 3 since ")


def test_ranks_that_are_merely_at_different_calls_are_no_finding() -> None:
    done = record(state="done", ended=2.0)
    ahead = record(state="done", ended=2.0, seq=2, number=2)
    assert recorder.verdict([flight(0, done, ahead), flight(1, done)]) == ["no rank waits for another"]


@pytest.mark.parametrize("data", [b"", b"JKFLIGHT", b"x" * 70_000])
def test_what_is_no_recorder_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(BackendError, match="somewhere: not a flight recorder"):
        recorder.decode(data, "somewhere")


def test_one_that_was_cut_short_is_refused() -> None:
    whole = recorder.MAGIC + struct.pack("<II", recorder.VERSION, recorder.N_RECORDS)
    with pytest.raises(BackendError, match=f"f: cut short, got 5000, expected {recorder.N_BYTES} bytes"):
        recorder.decode(whole + bytes(5000 - len(whole)), "f")


@pytest.mark.parametrize("source", ["fifo", "/dev/zero"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, source: str) -> None:
    path = tmp_path / source  # an absolute one stays itself
    if source == "fifo":
        os.mkfifo(path)
    with pytest.raises(BackendError, match="not a file, expected a flight recorder"):
        recorder.read([str(path)])


def test_another_version_is_refused() -> None:
    data = recorder.MAGIC + (99).to_bytes(4, "little") + bytes(70_000)
    with pytest.raises(BackendError, match="somewhere: another version, got 99"):
        recorder.decode(data, "somewhere")


def test_the_command_says_what_it_cannot_find(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert recorder.main([str(tmp_path)]) == 1
    assert "no flight recorder in it" in capsys.readouterr().err
    assert recorder.main([str(tmp_path / "none")]) == 1
    assert "cannot be read: No such file" in capsys.readouterr().err
    assert recorder.main([]) == 2
    assert recorder.main(["--help"]) == 0
    assert recorder.main(["--wrong", "x"]) == 2


def test_json_holds_ranks_and_verdict(
    start: Callable[[int, str], Ranks], capsys: pytest.CaptureFixture[str]
) -> None:
    ranks = start(2, "time.sleep(60)")

    assert recorder.main(["--json", str(ranks.folder)]) == 0
    (job,) = json.loads(capsys.readouterr().out)
    assert job["verdict"] == ["no rank waits for another"]
    assert [each["rank"] for each in job["ranks"]] == [0, 1]
    assert job["ranks"][0]["records"][0]["call"] == "all_sum"
