"""Read flight recorders: `python -m jobkit.native.recorder [--json] (FOLDER | FILE | PID) ...`.

Every rank keeps its last 1024 calls in memory that others may read at any time: in `rank-R.flight` of its
attempt's folder, also after it was killed, or, where it has no folder, as long as its process lives. It shows
the ranks side by side, and what follows: "rank 3 never entered all_sum #412".
"""

from __future__ import annotations

import json
import os
import stat
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path

from jobkit.errors import BackendError, Exit, complaint
from jobkit.native.arrays import DTYPES

USAGE = "usage: python -m jobkit.native.recorder [--json] (FOLDER | FILE | PID) ..."
SUFFIX = ".flight"
MEMORY = "/memfd:jobkit-flight-"

# The layout is that of src/recorder.cc.
MAGIC, VERSION = b"JKFLIGHT", 1
HEAD = struct.Struct("<8sIIiiIIqQII64s64sq1024s")
GROUPS_AT, GROUP = 2048, struct.Struct("<IiiI")
RECORDS_AT, RECORD = 4096, struct.Struct("<QqqIIQBBBBiiii4x")
N_RECORDS = 1024
N_BYTES = RECORDS_AT + N_RECORDS * RECORD.size
STATES = ("", "running", "waiting", "done", "failed")
NOBODY = -1

# The engine's calls in the order of their codes (src/call.h); the first without a number is a message.
CALLS = (
    *("all_sum", "all_max", "all_min", "sum_scatter", "sum_scatter(op='max')", "sum_scatter(op='min')"),
    *("all_gather", "broadcast", "all_to_all", "gather", "scatter", "barrier", "split"),
    *("send", "recv", "sendrecv"),
)
FIRST_MESSAGE = CALLS.index("send")
ROOTED = ("broadcast", "gather", "scatter")
BARE = ("barrier", "split")


@dataclass(frozen=True)
class Record:
    """One call of one rank. Times are seconds since 1970, right within some milliseconds.

    Attributes:
        number: Of all calls of this rank, from 1.
        context: Which group it was in; 0 is that of all ranks.
        seq: Its number among the collectives of the group; of a message, among those of its pair and tag.
        peer: The other rank of a message, the root of a collective that has one.
        state: One of running, waiting (for more than a moment), done, failed.
        ended: None while it has not.
        waits_for: A rank that it waits for, or waited for.
        n_waits_for: How many such ranks there are.
    """

    number: int
    context: int
    seq: int
    call: str
    dtype: str
    count: int
    peer: int | None
    tag: int
    state: str
    began: float
    ended: float | None
    waits_for: int | None
    n_waits_for: int

    def is_message(self) -> bool:
        """Return whether it is point to point."""
        return CALLS.index(self.call) >= FIRST_MESSAGE

    def label(self) -> str:
        """Return the call as errors name it: 'all_sum #12'."""
        if self.is_message():
            return f"{self.call} {_WAY[self.call]} rank {self.peer} with tag {self.tag}"
        return f"{self.call} #{self.seq}"

    def signature(self) -> str:
        """Return what all ranks must agree on."""
        if self.call in BARE:
            return f"{self.call}()"
        root = f", root={self.peer}" if self.call in ROOTED else ""
        return f"{self.call}({self.dtype}, {self.count} element{'s' if self.count != 1 else ''}{root})"


_WAY = {"send": "to", "recv": "from", "sendrecv": "with"}


@dataclass(frozen=True)
class Flight:
    """What one rank recorded.

    Attributes:
        job: The job's identity, and the attempt's.
        epoch: Counts the groups that the process formed one after another.
        failure: The first error that the rank raised, "" without one; it was raised at `failed`.
        has_left: Whether it took leave of the others.
        groups: For each group that it is in, its rank there and the group's size.
        records: Its last calls, the oldest first.
    """

    source: str
    rank: int
    size: int
    host: str
    pid: int
    job: str
    epoch: int
    failure: str
    failed: float | None
    has_left: bool
    groups: dict[int, tuple[int, int]]
    records: list[Record] = field(default_factory=list)

    def last_collective(self, context: int) -> Record | None:
        """Return the last collective that the rank entered in a group."""
        of_group = [each for each in self.records if each.context == context and not each.is_message()]
        return max(of_group, key=lambda each: each.seq, default=None)


def decode(data: bytes, source: str) -> Flight:
    """Return what the bytes of a recorder say.

    Raises:
        BackendError: They are not those of a recorder of this version.
    """
    if len(data) < RECORDS_AT or data[: len(MAGIC)] != MAGIC:
        raise BackendError(complaint(source, "not a flight recorder"))
    head = HEAD.unpack_from(data)
    _, version, n_records, rank, size, pid, epoch, wall_ns, _, n_groups, left, host, job, failed, text = head
    if version != VERSION:
        raise BackendError(complaint(source, "another version", got=version, expected=str(VERSION)))
    wanted = RECORDS_AT + n_records * RECORD.size
    if len(data) < wanted:
        raise BackendError(complaint(source, "cut short", got=len(data), expected=f"{wanted} bytes"))
    groups = {}
    for i in range(min(n_groups, (RECORDS_AT - GROUPS_AT) // GROUP.size)):
        context, own, members, _ = GROUP.unpack_from(data, GROUPS_AT + i * GROUP.size)
        groups[context] = (own, members)
    body = memoryview(data)[RECORDS_AT : RECORDS_AT + n_records * RECORD.size]
    records = [_record(fields, wall_ns) for fields in RECORD.iter_unpack(body) if fields[0]]
    return Flight(
        source=source,
        rank=rank,
        size=size,
        host=_text(host),
        pid=pid,
        job=_text(job),
        epoch=epoch,
        failure=_text(text),
        failed=(failed + wall_ns) / 1e9 if failed else None,
        has_left=bool(left),
        groups=groups,
        records=sorted(records, key=lambda each: each.number),
    )


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode(errors="replace")


def _record(fields: tuple[int, ...], wall_ns: int) -> Record:
    number, began, ended, context, seq, count, call, dtype, _, state, peer, tag, waits_for, n_waits = fields
    return Record(
        number=number,
        context=context,
        seq=seq,
        call=CALLS[call % len(CALLS)],
        dtype=DTYPES[dtype % len(DTYPES)],
        count=count,
        peer=None if peer == NOBODY else peer,
        tag=tag,
        state=STATES[state % len(STATES)],
        began=(began + wall_ns) / 1e9,
        ended=(ended + wall_ns) / 1e9 if ended else None,
        waits_for=None if waits_for == NOBODY else waits_for,
        n_waits_for=n_waits,
    )


def find(source: str) -> list[Path]:
    """Return the recorders in a folder and those below it, of a process, or the file itself.

    Raises:
        BackendError: There is none.
    """
    path = Path(source)
    if path.is_dir():
        found = sorted(path.rglob(f"*{SUFFIX}"))
    elif source.isdigit() and not path.exists():
        found = _descriptors(source)
    else:
        found = [path]
    if not found:
        raise BackendError(complaint(source, "no flight recorder in it"))
    return found


def _descriptors(pid: str) -> list[Path]:
    try:
        return [
            each
            for each in sorted(Path(f"/proc/{pid}/fd").iterdir())
            if str(each.readlink()).startswith(MEMORY)
        ]
    except OSError as error:
        raise BackendError(complaint(f"process {pid}", f"cannot be read: {error.strerror}")) from error


def _bytes(path: Path) -> bytes:
    """Return what is in a file, or in the memory that a descriptor names, and no more than a recorder has."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise BackendError(complaint(str(path), "not a file", expected="a flight recorder"))
        return file.read(N_BYTES)


def read(sources: Sequence[str]) -> list[Flight]:
    """Return what the recorders named on the command line say, by job, epoch and rank.

    Raises:
        BackendError: One of them cannot be read, or is none.
    """
    flights = []
    for path in (path for source in sources for path in find(source)):
        try:
            flights.append(decode(_bytes(path), str(path)))
        except OSError as error:
            raise BackendError(complaint(str(path), f"cannot be read: {error.strerror}")) from error
    return sorted(flights, key=lambda each: (each.job, each.epoch, each.rank))


def verdict(flights: Sequence[Flight]) -> list[str]:
    """Return what follows from the recorders of the ranks of one job, a sentence each."""
    return findings(flights) or ["no rank waits for another"]


def findings(flights: Sequence[Flight]) -> list[str]:
    """Return what is out of order in the recorders of the ranks of one job, a sentence each."""
    said = [f"rank {each.rank} raised: {each.failure}" for each in flights if each.failure]
    missing = sorted(set(range(max(each.size for each in flights))) - {each.rank for each in flights})
    said += [f"rank {rank} left no recording" for rank in missing]
    for context in sorted({context for each in flights for context in each.groups}):
        said += _of_group(context, [each for each in flights if context in each.groups])
    return [*said, *_of_messages(flights)]


def _of_group(context: int, members: list[Flight]) -> Iterator[str]:
    """Yield who is behind in the collectives of a group, or in another one than the rest."""
    last = [(each, each.last_collective(context)) for each in members]
    front = max((record for _, record in last if record), key=lambda record: record.seq, default=None)
    if front is None:
        return
    there = [(each, record) for each, record in last if record and record.seq == front.seq]
    signatures = {record.signature() for _, record in there}
    if len(signatures) > 1:
        called = ", ".join(f"rank {each.rank} called {record.signature()}" for each, record in there)
        yield f"calls differ at #{front.seq}: {called}"
    if all(record.state == "done" for _, record in there):
        return
    for each, record in last:
        if record is None:
            yield f"rank {each.rank} never entered {front.label()}, nor any collective before it"
        elif record.seq < front.seq:
            yield f"rank {each.rank} never entered {front.label()}: its last was {_told(record)}"


def _of_messages(flights: Sequence[Flight]) -> Iterator[str]:
    for each in flights:
        for record in each.records:
            if record.is_message() and record.state in ("waiting", "failed"):
                yield f"rank {each.rank} waited in {record.label()} since {_clock(record.began)}"


def _told(record: Record) -> str:
    moment = record.began if record.ended is None else record.ended
    return f"{record.label()}, {record.state} at {_clock(moment)}"


def _clock(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment)) + f".{int(moment * 1000) % 1000:03d}"


def show(flights: Sequence[Flight]) -> str:
    """Return a line for each rank of one job, and the verdict."""
    lines = [f"job {flights[0].job or '(unnamed)'}, group {flights[0].epoch + 1} of its processes"]
    for each in flights:
        last = each.records[-1] if each.records else None
        state = f"{last.signature()}: {_told(last)}" if last else "no call yet"
        if last and last.state == "waiting":
            more = f" and {last.n_waits_for - 1} more" if last.n_waits_for > 1 else ""
            state += f" for rank {last.waits_for}{more}"
        left = ", left" if each.has_left else ""
        lines.append(f"  rank {each.rank} ({each.host}, process {each.pid}){left}: {state}")
    return "\n".join([*lines, *(f"  -> {said}" for said in verdict(flights))])


def main(argv: list[str]) -> int:
    """Print the recorders that `argv` names and return the exit status."""
    sources = [each for each in argv if each != "--json"]
    if not sources or any(each.startswith("-") for each in sources):
        asked = sources in (["-h"], ["--help"])
        print(f"{__doc__}\n{USAGE}" if asked else USAGE, file=sys.stdout if asked else sys.stderr)
        return Exit.OK if asked else Exit.USAGE
    try:
        flights = read(sources)
    except BackendError as error:
        print(error, file=sys.stderr)
        return Exit.FINDING
    jobs = [list(each) for _, each in groupby(flights, key=lambda each: (each.job, each.epoch))]
    if "--json" in argv:
        print(json.dumps([{"ranks": [asdict(e) for e in job], "verdict": verdict(job)} for job in jobs]))
    else:
        print("\n\n".join(show(job) for job in jobs))
    return Exit.OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
