"""What flight recorders say of an attempt, out of recordings that are made here byte by byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobkit.jobs import flights
from jobkit.native import recorder

DONE, WAITING = recorder.STATES.index("done"), recorder.STATES.index("waiting")
BEGAN_NS = 1_700_000_000 * 10**9


def recording(rank: int, size: int, last: int, state: int, epoch: int = 0, failure: str = "") -> bytes:
    """Return a recorder in which `rank` has made all_sum #1 to #last, the last of them in `state`."""
    call, dtype = recorder.CALLS.index("all_sum"), recorder.DTYPES.index("float32")
    head = recorder.HEAD.pack(
        recorder.MAGIC, recorder.VERSION, last, rank, size, 100 + rank, epoch, BEGAN_NS, 0, 1, 0,
        b"node", b"job", 0, failure.encode(),
    )  # fmt: skip
    groups = recorder.GROUP.pack(0, rank, size, 0)
    records = [
        recorder.RECORD.pack(
            number, 0, 0 if number == last and state == WAITING else 1, 0, number, 3, call, dtype, 0,
            state if number == last else DONE, recorder.NOBODY, 0, recorder.NOBODY, 0,
        )
        for number in range(1, last + 1)
    ]  # fmt: skip
    return (
        head.ljust(recorder.GROUPS_AT, b"\0")
        + groups.ljust(recorder.RECORDS_AT - recorder.GROUPS_AT, b"\0")
        + b"".join(records)
    )


def write(folder: Path, *recordings: bytes) -> Path:
    for rank, data in enumerate(recordings):
        (folder / f"rank-{rank}.flight").write_bytes(data)
    return folder


def test_the_rank_that_never_came_is_named(tmp_path: Path) -> None:
    waits = [recording(rank, 3, 412, WAITING) for rank in (0, 1)]
    [said] = flights.findings(write(tmp_path, *waits, recording(2, 3, 411, DONE)))
    assert said.startswith("rank 2 never entered all_sum #412: its last was all_sum #411, done at ")


def test_who_raised_what_comes_after_who_is_behind(tmp_path: Path) -> None:
    raised = recording(0, 2, 5, WAITING, failure="rank 1 is gone")
    first, second = flights.findings(write(tmp_path, raised, recording(1, 2, 4, DONE)))
    assert first.startswith("rank 1 never entered all_sum #5")
    assert second == "rank 0 raised: rank 1 is gone"


@pytest.mark.parametrize("files", [0, 2])
def test_without_recordings_or_with_nothing_out_of_order_nothing_is_said(tmp_path: Path, files: int) -> None:
    assert flights.findings(write(tmp_path, *(recording(r, 2, 3, DONE) for r in range(files)))) == ()


def test_ranks_of_an_earlier_group_are_not_missed_in_the_last(tmp_path: Path) -> None:
    """Rank 2 died, and the others went on as a group of two."""
    survivors = [recording(rank, 2, 1 + rank, WAITING if rank else DONE, epoch=1) for rank in (0, 1)]
    [said] = flights.findings(write(tmp_path, *survivors, recording(2, 3, 9, WAITING)))
    assert said.startswith("rank 0 never entered all_sum #2")


def test_what_is_said_is_bounded(tmp_path: Path) -> None:
    raised = [recording(rank, 40, 2, DONE, failure=f"failure {rank}") for rank in range(40)]
    said = flights.findings(write(tmp_path, *raised))
    assert len(said) == 9
    assert said[-1] == f"and 32 more: python -m jobkit.native.recorder {tmp_path}"


def test_of_very_many_ranks_only_the_command_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flights, "_MOST_RANKS", 1)
    data = recording(0, 2, 1, DONE)
    command = f"python -m jobkit.native.recorder {tmp_path}"
    assert flights.findings(write(tmp_path, data, data)) == (f"2 ranks have recorded their calls: {command}",)


@pytest.mark.parametrize("data", [b"", b"JKFLIGHT", b"\0" * 5000, recording(0, 2, 3, DONE)[:-1]])
def test_a_recording_that_cannot_be_read_is_said_to_be_none(tmp_path: Path, data: bytes) -> None:
    [said] = flights.findings(write(tmp_path, data))
    assert said.startswith("the flight recorders cannot be read: ")
    assert "rank-0.flight" in said
