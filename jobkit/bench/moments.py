"""What a table over sizes does not show: forming a group, its memory, waiting in it, and the Python layer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from time import perf_counter

from jobkit.bench.crew import Crew

_BATCHES = 1000  # of which the best counts: short ones, so that one of them is not disturbed
_CALLS = 20
_MIB = 1 << 20
_USE = {"do": "run", "op": "all_sum", "dtype": "float32", "form": "out", "iterations": 10, "warmup": 0}


@dataclass(frozen=True)
class Forming:
    """How a group came to be.

    Attributes:
        contender, ranks: Whose, and of how many.
        seconds: From telling the ranks, whose processes run and have imported the library, to the last one
            that has been in a barrier.
        memory: Bytes by which the largest rank has grown since the import, after sums of 8 bytes and 1 MiB.
        shared: The same, with pages that several ranks map counted in parts; the mean.
    """

    contender: str
    ranks: int
    seconds: float
    memory: int
    shared: int


@dataclass(frozen=True)
class Waiting:
    """What a rank costs that waits for another one.

    Attributes:
        contender, ranks: Whose, and of how many.
        seconds: How long it waited.
        cpu: Processor seconds of the most expensive of the waiting ranks.
    """

    contender: str
    ranks: int
    seconds: float
    cpu: float


@dataclass(frozen=True)
class Overhead:
    """What Python adds to a sum, in seconds a call; of each kind the best of many short batches.

    Attributes:
        n_bytes: Of each array.
        engine: The engine alone, called in a loop of C.
        out, alloc: `all_sum` with memory that is kept, and with new memory.
    """

    n_bytes: int
    engine: float
    out: float
    alloc: float


Moment = Forming | Waiting | Overhead


def forming(crew: Crew, deadline_s: float) -> Forming:
    """Form the group of ranks that have been started, and use it a little.

    Raises:
        CrewError: It failed.
    """
    began = perf_counter()
    crew.init(deadline_s)
    seconds = perf_counter() - began
    for count in (2, _MIB // 4):
        crew.ask({**_USE, "count": count}, deadline_s)
    grown = crew.ask({"do": "memory"}, deadline_s)
    memory = max(int(reply["rss"]) for reply in grown)
    shared = sum(int(reply["pss"]) for reply in grown) // crew.size
    return Forming(crew.contender.name, crew.size, seconds, memory, shared)


def waiting(crew: Crew, seconds: float, deadline_s: float) -> Waiting:
    """Let every rank wait for rank 0.

    Raises:
        CrewError: It failed.
    """
    replies = crew.ask({"do": "idle", "seconds": seconds}, seconds + deadline_s)[1:]
    longest = max(float(reply["wall"]) for reply in replies)
    return Waiting(crew.contender.name, crew.size, longest, max(float(reply["cpu"]) for reply in replies))


def overhead(crew: Crew, n_bytes: int, deadline_s: float) -> Overhead:
    """Time sums with and without Python around them, in turn.

    Raises:
        NotServed: There is no compiler, or it is not jobkit's engine.
        CrewError: It failed.
    """
    command = {"do": "overhead", "count": n_bytes // 4, "iterations": _CALLS, "batches": _BATCHES}
    replies = crew.ask(command, deadline_s)
    engine, out, alloc = (max(float(reply[name]) for reply in replies) for name in ("engine", "out", "alloc"))
    return Overhead(n_bytes, engine, out, alloc)


def columns(moment: Moment) -> dict[str, str]:
    """Return a result as the cells of a table, by column."""
    if isinstance(moment, Overhead):
        added = {"OUT ADDS us": moment.out - moment.engine, "ALLOC ADDS us": moment.alloc - moment.engine}
        times = {"ENGINE us": moment.engine, "OUT us": moment.out, "ALLOC us": moment.alloc, **added}
        return {"BYTES": str(moment.n_bytes), **{name: f"{t * 1e6:.3f}" for name, t in times.items()}}
    who = {"WHO": moment.contender, "RANKS": str(moment.ranks)}
    if isinstance(moment, Forming):
        sizes = {"MEMORY MiB": moment.memory / _MIB, "SHARED MiB": moment.shared / _MIB}
        return {**who, "INIT s": f"{moment.seconds:.3f}", **{name: f"{n:.1f}" for name, n in sizes.items()}}
    part = f"{moment.cpu / moment.seconds:.1%}"
    return {**who, "WAITED s": f"{moment.seconds:.2f}", "CPU s": f"{moment.cpu:.3f}", "CPU": part}


def as_json(moment: Moment) -> dict[str, object]:
    """Return a result as JSON's own types: seconds and bytes."""
    return {"measured": type(moment).__name__.lower(), **asdict(moment)}
