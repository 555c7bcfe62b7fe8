from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobkit.jobs import folder, follow, record
from jobkit.jobs.follow import Choice, Follower, Sink
from jobkit.jobs.record import RankRecord, Record, TaskRecord

Make = Callable[..., Record]


def write(run_dir: Path, rank: int, data: bytes, stream: str = "out", *, attempt: int = 1) -> None:
    path = folder.output(run_dir, attempt, rank, stream)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(data)


def job(make_record: Make, size: int = 2, attempt: int = 1) -> Record:
    ranks = tuple(RankRecord(rank) for rank in range(size))
    return make_record(tasks=(TaskRecord(None, attempt=attempt, ranks=ranks),))


class Taken:
    """Follows a job into two buffers."""

    def __init__(self, run_dir: Path, **choice: object) -> None:
        self.out, self.err = bytearray(), bytearray()
        sinks = {"out": Sink(self.out.extend), "err": Sink(self.err.extend)}
        self.follower = Follower(run_dir, Choice(**choice), sinks)  # type: ignore[arg-type]


def test_the_bytes_of_one_rank_pass_as_they_are(tmp_path: Path, make_record: Make) -> None:
    write(tmp_path, 0, b"\xff\x00 no end")
    write(tmp_path, 0, b"oh\r\n", "err")
    taken = Taken(tmp_path)
    taken.follower.pump(job(make_record, 1), to_the_end=True)
    assert (bytes(taken.out), bytes(taken.err)) == (b"\xff\x00 no end", b"oh\r\n")


def test_the_lines_of_several_ranks_name_their_rank(tmp_path: Path, make_record: Make) -> None:
    write(tmp_path, 0, b"a\nb\n")
    write(tmp_path, 1, b"\xff\n\nlast")
    taken = Taken(tmp_path)
    taken.follower.pump(job(make_record), to_the_end=True)
    assert bytes(taken.out) == b"[0] a\n[0] b\n[1] \xff\n[1] \n[1] last"


def test_a_line_waits_for_its_end(tmp_path: Path, make_record: Make) -> None:
    taken, known = Taken(tmp_path), job(make_record)
    write(tmp_path, 0, b"one ")
    taken.follower.pump(known)
    write(tmp_path, 1, b"two\n")
    taken.follower.pump(known)
    write(tmp_path, 0, b"line\n")
    taken.follower.pump(known)
    assert bytes(taken.out) == b"[1] two\n[0] one line\n"


def test_a_line_without_an_end_goes_out_after_some_silence(
    tmp_path: Path, make_record: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(follow.time, "monotonic", lambda: now[0])
    taken, known = Taken(tmp_path), job(make_record)
    write(tmp_path, 0, b"sure? ")
    taken.follower.pump(known)
    assert not taken.out
    now[0] += follow.SILENCE_S
    taken.follower.pump(known)
    assert bytes(taken.out) == b"[0] sure? "
    write(tmp_path, 1, b"other\n")
    taken.follower.pump(known)
    write(tmp_path, 0, b"yes\n")
    taken.follower.pump(known)
    assert bytes(taken.out) == b"[0] sure? \n[1] other\n[0] yes\n"


def test_a_line_that_goes_on_after_silence_has_one_prefix(
    tmp_path: Path, make_record: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(follow.time, "monotonic", lambda: now[0])
    taken, known = Taken(tmp_path), job(make_record)
    for part in (b"10%", b"\r20%", b"\r30%\n"):
        write(tmp_path, 0, part)
        taken.follower.pump(known)
        now[0] += 1
        taken.follower.pump(known)
    assert bytes(taken.out) == b"[0] 10%\r20%\r30%\n"


def test_a_line_too_long_to_keep_goes_out_in_parts(tmp_path: Path, make_record: Make) -> None:
    taken = Taken(tmp_path)
    write(tmp_path, 0, b"x" * (follow.LINE_BYTES + 1))
    taken.follower.pump(job(make_record))
    assert len(taken.out) > follow.LINE_BYTES


def test_a_rank_alone_has_no_prefix(tmp_path: Path, make_record: Make) -> None:
    write(tmp_path, 0, b"a\n")
    write(tmp_path, 1, b"b\n")
    taken = Taken(tmp_path, rank=1)
    taken.follower.pump(job(make_record), to_the_end=True)
    assert bytes(taken.out) == b"b\n"


def test_lines_without_labels_are_whole_all_the_same(tmp_path: Path, make_record: Make) -> None:
    taken, known = Taken(tmp_path, labelled=False), job(make_record)
    write(tmp_path, 0, b"one ")
    taken.follower.pump(known)
    write(tmp_path, 1, b"two\n")
    taken.follower.pump(known)
    write(tmp_path, 0, b"line\n")
    taken.follower.pump(known, to_the_end=True)
    assert bytes(taken.out) == b"two\none line\n"


def test_the_latest_attempt_is_shown_and_others_on_request(tmp_path: Path, make_record: Make) -> None:
    write(tmp_path, 0, b"first\n", attempt=1)
    write(tmp_path, 0, b"second\n", attempt=2)
    latest, first = Taken(tmp_path), Taken(tmp_path, attempt=1)
    for taken in (latest, first):
        taken.follower.pump(job(make_record, 1, attempt=2), to_the_end=True)
    assert (bytes(latest.out), bytes(first.out)) == (b"second\n", b"first\n")


def test_following_goes_on_with_the_next_attempt(tmp_path: Path, make_record: Make) -> None:
    taken = Taken(tmp_path)
    write(tmp_path, 0, b"first")
    taken.follower.pump(job(make_record, 1))
    write(tmp_path, 0, b"!\n")
    write(tmp_path, 0, b"second\n", attempt=2)
    taken.follower.pump(job(make_record, 1, attempt=2), to_the_end=True)
    assert bytes(taken.out) == b"first!\nsecond\n"


def test_the_points_of_a_sweep_are_named(tmp_path: Path, make_record: Make) -> None:
    one = TaskRecord("0", attempt=1, ranks=(RankRecord(0),))
    two = TaskRecord("1", attempt=1, ranks=(RankRecord(0), RankRecord(1)))
    known = make_record(tasks=(one, two))
    write(tmp_path / "0", 0, b"a\n")
    write(tmp_path / "1", 1, b"b\n")
    whole, alone = Taken(tmp_path), Taken(tmp_path / "0")
    whole.follower.pump(known, to_the_end=True)
    alone.follower.pump(record.narrowed(known, "0"), to_the_end=True)
    assert bytes(whole.out) == b"[0] a\n[1/1] b\n"
    assert bytes(alone.out) == b"a\n"


def test_a_point_that_has_ended_is_not_looked_at_again(tmp_path: Path, make_record: Make) -> None:
    ended = TaskRecord("0", state="succeeded", attempt=1, ranks=(RankRecord(0),))
    known = make_record(tasks=(ended, TaskRecord("1", attempt=1, ranks=(RankRecord(0),))))
    write(tmp_path / "0", 0, b"a")
    taken = Taken(tmp_path)
    taken.follower.pump(known)
    assert bytes(taken.out) == b"[0] a"
    write(tmp_path / "0", 0, b"late\n")
    write(tmp_path / "1", 0, b"b\n")
    taken.follower.pump(known)
    taken.follower.pump(known, to_the_end=True)
    assert bytes(taken.out) == b"[0] a\n[1] b\n"


def test_a_job_that_has_not_started_has_written_nothing(tmp_path: Path, make_record: Make) -> None:
    taken = Taken(tmp_path)
    taken.follower.pump(job(make_record, attempt=0), to_the_end=True)
    taken.follower.pump(job(make_record, attempt=1), to_the_end=True)
    assert not taken.out


@settings(max_examples=50, deadline=None)
@given(chunks=st.lists(st.tuples(st.integers(0, 1), st.binary(max_size=20)), max_size=20))
def test_no_byte_is_lost_however_it_is_written(
    chunks: list[tuple[int, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    run_dir = tmp_path_factory.mktemp("job")
    ranks = (RankRecord(0), RankRecord(1))
    known = replace_tasks(ranks)
    taken = Taken(run_dir)
    written = {0: b"", 1: b""}
    for rank, data in chunks:
        write(run_dir, rank, data)
        written[rank] += data
        taken.follower.pump(known)
    taken.follower.pump(known, to_the_end=True)
    for rank, data in written.items():
        mark = b"[%d] " % rank
        lines = [line[4:] for line in bytes(taken.out).split(b"\n") if line.startswith(mark)]
        wanted = data.split(b"\n")
        assert lines == (wanted if wanted[-1] else wanted[:-1])


def replace_tasks(ranks: tuple[RankRecord, ...]) -> Record:
    from jobkit.jobs.process import Identity
    from jobkit.jobs.record import Origin

    origin = Origin((), "/", "a", None, None, (), (), "0", None, Identity(1, "1", "b", "h"))
    known = Record("a", "a", "local", "running", "2026-11-22T10:15:30Z", (), origin)
    return replace(known, tasks=(TaskRecord(None, attempt=1, ranks=ranks),))


def test_the_last_lines_of_a_big_file_are_read_from_its_end(tmp_path: Path) -> None:
    path = tmp_path / "err"
    path.write_bytes(b"x" * 10**6 + b"\nlast\xff\nlines\n")
    assert follow.last_lines(path, 2) == ["last\ufffd", "lines"]
    assert follow.last_lines(tmp_path / "nothing") == []
