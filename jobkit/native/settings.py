"""Read the settings of the layer from the environment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from jobkit.errors import BackendError, complaint

TIMEOUT = "JOBKIT_TIMEOUT_S"
CONNECT_TIMEOUT = "JOBKIT_CONNECT_TIMEOUT_S"
HEARTBEAT = "JOBKIT_HEARTBEAT_S"
SHARED_MEMORY = "JOBKIT_SHM"
VERBOSE = "MLX_RING_VERBOSE"
CHECK = "JOBKIT_CHECK"
CONGESTION = "JOBKIT_CONGESTION"
SCHEDULE = "JOBKIT_SCHEDULE"
SIMD = "JOBKIT_SIMD"
BUILT_IN = "builtin"
SHORTEST_HEARTBEAT_S = 0.1


@dataclass(frozen=True)
class Settings:
    """How long a group waits, and whether it talks.

    Attributes:
        timeout_s: Seconds that a peer may be silent during an operation; 0 waits for ever.
        connect_timeout_s: Seconds until all ranks must have met.
        heartbeat_s: Seconds between two signs of life, at least 0.1; 0 sends none.
        shared_memory: Whether ranks of one host may communicate through memory that they share.
        verbose: Whether the ring reports on stderr what it does.
        checks: Whether the ranks compare what they are about to call before every collective.
        congestion: The congestion control of TCP connections; "system" leaves them alone, "" chooses.
        schedules: Rows that go before the built-in table of schedules, or BUILT_IN for none; "" measures
            what is not known yet. Rank 0's count.
        simd: The instruction set of reductions, "" for the fastest; of no consequence for their bits.
    """

    timeout_s: float = 300.0
    connect_timeout_s: float = 300.0
    heartbeat_s: float = 1.0
    shared_memory: bool = True
    verbose: bool = False
    checks: bool = False
    congestion: str = ""
    schedules: str = ""
    simd: str = ""


def settings(environ: Mapping[str, str]) -> Settings:
    """Return the settings that the environment asks for, defaults for the rest.

    Raises:
        BackendError: A value is not a number of seconds, or too short, or neither 0 nor 1.
    """
    return Settings(
        timeout_s=_seconds(environ, TIMEOUT, Settings.timeout_s),
        connect_timeout_s=_seconds(environ, CONNECT_TIMEOUT, Settings.connect_timeout_s),
        heartbeat_s=_heartbeat(environ),
        shared_memory=_switch(environ, SHARED_MEMORY, Settings.shared_memory),
        verbose=environ.get(VERBOSE, "") not in ("", "0"),
        checks=environ.get(CHECK, "") not in ("", "0"),
        congestion=environ.get(CONGESTION, ""),
        schedules=environ.get(SCHEDULE, "").strip(),
        simd=environ.get(SIMD, "").strip(),
    )


def integer(environ: Mapping[str, str], name: str) -> int | None:
    """Return the count or rank that a variable holds, None where it is not set.

    Raises:
        BackendError: It is not an integer >= 0.
    """
    text = environ.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise BackendError(complaint(name, "not a number", got=text, expected="an integer >= 0"))
    return int(text)


def _heartbeat(environ: Mapping[str, str]) -> float:
    value = _seconds(environ, HEARTBEAT, Settings.heartbeat_s)
    if 0 < value < SHORTEST_HEARTBEAT_S:  # a live rank would be late with its answers
        expected = f"0, or at least {SHORTEST_HEARTBEAT_S} seconds"
        raise BackendError(complaint(HEARTBEAT, "too short", got=environ[HEARTBEAT], expected=expected))
    return value


def _switch(environ: Mapping[str, str], name: str, default: bool) -> bool:
    text = environ.get(name, "").strip()
    if text not in ("", "0", "1"):
        raise BackendError(complaint(name, "neither on nor off", got=text, expected="0 or 1"))
    return text == "1" if text else default


def _seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise BackendError(complaint(name, "not a number of seconds", got=text, expected="a number >= 0"))
    return value
