"""What the command line asks for, checked."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field

from jobkit.bench import units
from jobkit.bench.cases import FORMS, ITEM_SIZES, OPERATIONS
from jobkit.bench.contenders import BACKENDS, RING, TCP, TRANSPORTS
from jobkit.bench.measure import Effort
from jobkit.bench.places import CONGESTION
from jobkit.errors import SpecError, complaint


@dataclass(frozen=True)
class Choices:
    """What to measure.

    Attributes:
        ops, dtypes, forms, sizes, ranks: Every combination of them.
        against: Names of peers, or files.
        mpi_pythons: Interpreters with mpi4py.
        defaults: Whether peers take part once more as they come.
        transport, congestion: What everybody uses.
        backend: What jobkit itself uses.
        namespaces: Whether a half of the ranks each is in a network of its own.
        effort: How long.
    """

    ops: tuple[str, ...] = ("all_sum",)
    dtypes: tuple[str, ...] = ("float32",)
    forms: tuple[str, ...] = ("out",)
    sizes: tuple[int, ...] = (8,)
    ranks: tuple[int, ...] = (2,)
    against: tuple[str, ...] = ()
    mpi_pythons: tuple[str, ...] = ()
    defaults: bool = False
    transport: str = "shm"
    backend: str = RING
    congestion: str = "system"
    namespaces: bool = False
    effort: Effort = field(default_factory=Effort)


def words(option: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    """Return the words of a list with commas, each once.

    Raises:
        SpecError: One is not known, or there is none.
    """
    found = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not found:
        raise SpecError(complaint(option, "empty", got=text, expected=f"one of {', '.join(known)}"))
    for word in found:
        one_of(option, word, known)
    return found


def one_of(option: str, word: str, known: Sequence[str]) -> str:
    """Return the word.

    Raises:
        SpecError: It is not known.
    """
    if word not in known:
        raise SpecError(complaint(option, "unknown name", got=word, expected=f"one of {', '.join(known)}"))
    return word


def ranks(text: str, least: int = 2) -> tuple[int, ...]:
    """Return the numbers of ranks that `-n` asks for.

    Raises:
        SpecError: One is not a number, or too small.
    """
    found = tuple(text.split(","))
    for word in found:
        if not (word.strip().isascii() and word.strip().isdigit() and least <= int(word) <= 4096):
            expected = f"a number from {least} to 4096, or several with commas"
            raise SpecError(complaint("-n", "not a number of ranks", got=text, expected=expected))
    return tuple(map(int, found))


def positive(option: str, value: float) -> float:
    """Return a number.

    Raises:
        SpecError: It is not above zero.
    """
    if not 0 < value < 1e6:
        raise SpecError(complaint(option, "not a number above 0", got=value))
    return value


def _check_idle(value: float) -> None:
    if not 0 <= value < 1e6:
        raise SpecError(complaint("--idle", "not a time", got=value, expected="seconds, 0 or more"))


def _interpreters(text: str) -> tuple[str, ...]:
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    for word in found:
        if shutil.which(word) is None:
            raise SpecError(complaint("--mpi-python", "no such program", got=word, expected="an interpreter"))
    return found


def choices(args: object) -> Choices:
    """Return what the parsed arguments ask for.

    Raises:
        SpecError: Something of it cannot be used.
    """
    get = vars(args).get
    transport = one_of("--transport", str(get("transport")), TRANSPORTS)
    namespaces = bool(get("namespaces"))
    if namespaces and transport != TCP:
        hint = "between two networks there is no shared memory: --transport tcp"
        raise SpecError(complaint("--namespaces", "not for shared memory", hint=hint))
    _check_idle(get("idle") or 0.0)
    effort = Effort(
        int(positive("--rounds", get("rounds") or 0)),
        positive("--seconds", get("seconds") or 0),
        positive("--deadline", get("deadline") or 0),
    )
    return Choices(
        ops=words("OP", str(get("op")), OPERATIONS),
        dtypes=words("--dtype", str(get("dtype")), tuple(ITEM_SIZES)),
        forms=words("--form", str(get("form")), FORMS),
        sizes=units.sizes(str(get("sizes"))),
        ranks=ranks(str(get("ranks"))),
        against=tuple(word for word in str(get("against")).split(",") if word),
        mpi_pythons=_interpreters(str(get("mpi_python"))),
        defaults=bool(get("defaults")),
        transport=transport,
        backend=one_of("--backend", str(get("backend") or RING), BACKENDS),
        congestion=one_of("--congestion", str(get("congestion")), CONGESTION),
        namespaces=namespaces,
        effort=effort,
    )
