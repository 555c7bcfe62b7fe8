"""`docs/native.md`: its programs run, and its table of schedules is what the engine does."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobkit.native import _core

PAGE = Path(__file__).parent.parent.parent / "docs" / "native.md"
TEXT = PAGE.read_text()
# Runs every Python block of a page, so that a traceback has the page's own line numbers.
RUN_BLOCKS = """
import re, sys
page = sys.argv[1]
text = open(page).read()
for block in re.finditer(r"^```python\\n(.*?)^```", text, re.M | re.S):
    lines_before = text[: block.start(1)].count("\\n")
    exec(compile("\\n" * lines_before + block[1], page, "exec"), {"__name__": "__main__"})
    print("block", lines_before)
"""
CALLS = {
    "all_sum": 0,
    "all_max": 1,
    "all_min": 2,
    "sum_scatter": 3,
    "all_gather": 6,
    "broadcast": 7,
    "all_to_all": 8,
    "gather": 9,
    "scatter": 10,
    "barrier": 11,
}
# The argument of these has a block for each rank, which is what the engine counts.
IN_BLOCKS = ("sum_scatter", "all_to_all", "scatter")
KIB = 1024
SMALL, LARGE = 2520, 2520 * 256  # bytes; multiples of 2 to 9


@pytest.mark.parametrize("size", [1, 2])
def test_every_python_block_runs(size: int) -> None:
    command = [sys.executable, "-m", "jobkit", "launch", "-n", str(size), "--", sys.executable, "-c"]
    done = subprocess.run([*command, RUN_BLOCKS, str(PAGE)], capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == size * TEXT.count("```python\n") > 0


def rows(topology: str) -> list[tuple[str, str, str, str, str]]:
    """Return (call, used, schedule, steps, bytes) for each call that the page's table has."""
    found = re.search(rf"<!-- {topology} -->\n.*?\n.*?\n(.*?)<!-- end", TEXT, re.S)
    assert found
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in found[1].splitlines()]
    return [
        (call, used, schedule, steps.strip("`"), n_bytes.strip("`"))
        for calls, used, schedule, steps, n_bytes in cells
        for call in re.findall(r"`(\w+)`", calls)
    ]


ROWS = [(topology, *row) for topology in ("direct", "neighbours") for row in rows(topology)]


def test_the_tables_have_every_call() -> None:
    for topology in ("direct", "neighbours"):
        assert {row[1] for row in ROWS if row[0] == topology} == set(CALLS)


def applies(used: str, size: int, n_bytes: int) -> bool:
    is_small = {
        "S (P - 1) up to 64 KiB": n_bytes * (size - 1) <= 64 * KIB,
        "below 256 KiB, or P = 2": n_bytes < 256 * KIB or size == 2,
    }
    opposite = {"above": "S (P - 1) up to 64 KiB", "else": "below 256 KiB, or P = 2"}
    if used in opposite:
        return not is_small[opposite[used]]
    return is_small.get(used, used == "always")


def plans(call: str, topology: str, size: int, n_bytes: int) -> list[tuple[Any, ...]]:
    """Return what every rank does, its counts in units of `width` bytes."""
    count = n_bytes // size if call in IN_BLOCKS else n_bytes
    return [
        _core.plan(CALLS[call], rank, size, count, topology, n_bytes_per_element=1) for rank in range(size)
    ]


def n_steps(stages: list[Any]) -> int:
    """Return the length of the longest chain of messages; `stages[r]` are rank r's."""
    ends: list[list[int]] = [[] for _ in stages]
    starts: dict[tuple[int, int, int], int] = {}  # of a message, by sender, receiver and number
    while any(len(ends[r]) < len(stages[r]) for r in range(len(stages))):
        for r, own in enumerate(stages):
            if len(ends[r]) == len(own):
                continue
            _, receives, sends, _ = own[len(ends[r])]
            before = ends[r][-1] if ends[r] else 0
            starts.update({(r, peer, message): before for peer, message, _ in sends})
            keys = [(peer, r, message) for peer, message, _ in receives]
            if all(key in starts for key in keys):
                moves = bool(receives or sends)
                ends[r].append(max([before, *(starts[key] for key in keys)]) + moves)
    return max(end for each in ends for end in each)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[1]}-{row[3]}")
def test_a_schedule_takes_the_steps_and_bytes_of_its_row(row: tuple[str, ...]) -> None:
    topology, call, used, schedule, steps, n_bytes = row
    cases = [(p, s) for p in range(2, 10) for s in (SMALL, LARGE) if applies(used, p, s)]
    assert cases
    for p, s in cases:
        made = plans(call, topology, p, s if call != "barrier" else 0)
        assert {plan[0] for plan in made} == {schedule}
        values = {"P": p, "S": s, "C": -(-s // (256 * KIB)), "ceil": math.ceil, "log2": math.log2}
        assert n_steps([plan[2] for plan in made]) == eval(steps, values), (p, s)
        sent = [sum(span[2] for stage in plan[2] for _, _, span in stage[2]) for plan in made]
        assert max(sent) == eval(n_bytes, values), (p, s)
