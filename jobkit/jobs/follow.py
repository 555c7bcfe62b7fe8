"""Read what ranks have written, as whole lines and as bytes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from jobkit.jobs import folder
from jobkit.jobs.record import ENDED, Record, TaskRecord

OUT, ERR = "out", "err"
_CHUNK_BYTES = 1 << 20
# A line that grows longer goes out in parts.
LINE_BYTES = 64 * 1024
# A line without an end goes out after this long: a progress bar, a question.
SILENCE_S = 0.5


@dataclass(frozen=True)
class Choice:
    """What of a job is read.

    Attributes:
        rank: One rank, None for all.
        streams: Of OUT and ERR.
        attempt: One attempt, None for the latest (and those that follow).
        labelled: Lines name their rank, where there are several, and their point.
    """

    rank: int | None = None
    streams: tuple[str, ...] = (OUT, ERR)
    attempt: int | None = None
    labelled: bool = True


@dataclass
class Sink:
    """Where one stream goes: bytes in, whole lines out.

    Attributes:
        write: Takes bytes.
        open_line: The source that has left a line without an end, None when there is none.
    """

    write: Callable[[bytes], None]
    open_line: object = None

    def put(self, source: object, data: bytes) -> None:
        """Write a source's data; a line that another one left open is ended first."""
        if self.open_line not in (None, source):
            self.write(b"\n")
        self.write(data)
        self.open_line = None if data.endswith(b"\n") else source


@dataclass
class Source:
    """One file of one rank, read from its beginning while it grows.

    It is opened for each look, since a job may have more files than a process may hold open.

    Attributes:
        path: The file, which may not be there yet.
        prefix: What each line begins with; None where it is alone, and bytes pass as they are.
        sink: Where they go.
        offset: Bytes read so far.
        pending: Of these, what has not gone out.
        at_line_start: Whether what went out ended with a line.
        quiet_since: When something was read last (monotonic seconds).
    """

    path: Path
    prefix: bytes | None
    sink: Sink
    offset: int = 0
    pending: bytes = b""
    at_line_start: bool = True
    quiet_since: float = field(default_factory=time.monotonic)

    def pump(self, *, to_the_end: bool = False) -> bool:
        """Pass on what is new; return whether there was something.

        Args:
            to_the_end: Nothing more will come, so a line without an end goes out, too.
        """
        data = self._read()
        if self.prefix is None:
            if data:
                self.sink.put(self, data)
            return bool(data)
        self.pending += data
        now = time.monotonic()
        if data:
            self.quiet_since = now
        whole = self.pending.rfind(b"\n") + 1
        if to_the_end or len(self.pending) - whole >= LINE_BYTES or now - self.quiet_since >= SILENCE_S:
            whole = len(self.pending)
        if whole:
            self._put(self.pending[:whole])
            self.pending = self.pending[whole:]
        return bool(data)

    def _read(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read(_CHUNK_BYTES)
        except FileNotFoundError:
            return b""
        self.offset += len(data)
        return data

    def _put(self, data: bytes) -> None:
        # What continues a line of ours needs no prefix, unless another source has ended it.
        prefix = self.prefix or b""
        continues = self.sink.open_line is self and not self.at_line_start
        lines = _lines(data)
        text = b"".join(line if i == 0 and continues else prefix + line for i, line in enumerate(lines))
        self.sink.put(self, text)
        self.at_line_start = data.endswith(b"\n")


def _lines(data: bytes) -> list[bytes]:
    """Split at line feeds alone: a carriage return is part of a progress bar's line."""
    lines = [line + b"\n" for line in data.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


class Follower:
    """Passes on what the ranks of a job write, or those of one point of a sweep.

    `run_dir` is the folder of the job or point, and the records given to `pump` are of the same.
    """

    def __init__(self, run_dir: Path, choice: Choice, sinks: dict[str, Sink]) -> None:
        self.run_dir = run_dir
        self.choice = choice
        self.sinks = sinks
        self.sources: dict[tuple[str | None, int], list[Source]] = {}

    def pump(self, known: Record, *, to_the_end: bool = False) -> None:
        """Pass on everything there is by now.

        Args:
            known: The job's record, for its tasks and their attempts.
            to_the_end: The job has ended, or this is the only look.
        """
        for task in known.tasks:
            self._open(known, task)
            if task.state in ENDED:
                self._close((task.point, self.choice.attempt or task.attempt))
        every = [source for sources in self.sources.values() for source in sources]
        while sum(source.pump() for source in every):  # each in its turn, so that none waits for another
            pass
        if to_the_end:
            self.finish(list(self.sources))

    def finish(self, keys: list[tuple[str | None, int]]) -> None:
        """Pass on the rest of some tasks' attempts."""
        for key in keys:
            for source in self.sources.pop(key):
                while source.pump():
                    pass
                source.pump(to_the_end=True)

    def _close(self, key: tuple[str | None, int]) -> None:
        """Pass on the rest of an attempt for good: of a long sweep only what still runs is looked at."""
        if self.sources.get(key):
            self.finish([key])
            self.sources[key] = []

    def _open(self, known: Record, task: TaskRecord) -> None:
        attempt = self.choice.attempt or task.attempt
        key = (task.point, attempt)
        if key in self.sources or attempt == 0:
            return
        # An attempt that is over has written all it will.
        self.finish([old for old in self.sources if old[0] == task.point])
        ranks = [rank.rank for rank in task.ranks if self.choice.rank in (None, rank.rank)]
        alone = len(ranks) == 1 and not known.is_sweep
        task_dir = folder.task_folder(self.run_dir, task.point)
        self.sources[key] = [
            Source(
                folder.output(task_dir, attempt, rank, stream),
                None if alone else self._prefix(task.point, rank, several=len(ranks) > 1),
                self.sinks[stream],
            )
            for rank in ranks
            for stream in self.choice.streams
        ]

    def _prefix(self, point: str | None, rank: int, *, several: bool) -> bytes:
        if not self.choice.labelled:
            return b""
        words = ([] if point is None else [point]) + ([str(rank)] if several else [])
        return f"[{'/'.join(words)}] ".encode()


def last_lines(path: Path, count: int = 20, limit_bytes: int = 8192, start: int = 0) -> list[str]:
    """Return the last lines of a file for people; empty when there is none.

    Args:
        path: The file.
        count: Lines at most.
        limit_bytes: How much of its end is looked at.
        start: Where in the file the lines begin at the earliest.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(start, size - limit_bytes))
            data = file.read(limit_bytes)
    except FileNotFoundError:
        return []
    return data.decode(errors="replace").splitlines()[-count:]
