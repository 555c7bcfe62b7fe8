"""Ranks of the jaccl backend on soft-RoCE, in the guests of `clusters.guests`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clusters.guests import DEADLINE_S, Guest

_FOLDER = Path(__file__).parent
OPERATIONS = (_FOLDER / "operations.py").read_text()
# As in MLX's documentation of JACCL, where the names are those of Macs.
MESH = [[None if i == j else "rxe0" for j in range(4)] for i in range(4)]
RING = [[("rxe0" if (j - i) % 4 in (1, 3) else None) for j in range(4)] for i in range(4)]


def environ(
    guests: Sequence[Guest], matrix: Sequence[Sequence[Any]], coordinator: str, **variables: str
) -> dict[str, str]:
    """Write the matrix of devices into each guest; return the variables of JACCL's contract but the rank."""
    for guest in guests:
        guest.run("sh", "-c", "cat >/tmp/devices.json", text=json.dumps(matrix))
    contract = {"MLX_IBV_DEVICES": "/tmp/devices.json", "MLX_JACCL_COORDINATOR": f"{coordinator}:7000"}
    return contract | variables


def start(guest: Guest, first: int, count: int, program: str, environ: Mapping[str, str]) -> int:
    """Start ranks `first` and on; return the number of the command."""
    words = (sys.executable, str(_FOLDER / "forked_ranks.py"), str(first), str(count), program)
    return guest.start(*words, environ=environ)


def wait(guest: Guest, number: int, deadline_s: float = DEADLINE_S) -> list[dict[str, Any]]:
    """Return the {"status", "out"} of the ranks of a command."""
    done = guest.wait(number, deadline_s)
    assert done.returncode == 0, done.stdout + done.stderr
    told: list[dict[str, Any]] = json.loads(done.stdout)
    return told
