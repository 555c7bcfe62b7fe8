"""`docs/native.md`: its programs run, and its table of schedules is what the engine does."""

from __future__ import annotations

import functools
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobkit import native
from jobkit.native import _core, settings
from jobkit.native.group import Group
from jobkit.native.handles import Handle

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
SMALL, LARGE = 2520, 2520 * 256  # bytes; multiples of 2 to 9


@pytest.mark.parametrize("size", [1, 2])
def test_every_python_block_runs(size: int) -> None:
    command = [sys.executable, "-m", "jobkit", "launch", "-n", str(size), "--", sys.executable, "-c"]
    done = subprocess.run([*command, RUN_BLOCKS, str(PAGE)], capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == size * TEXT.count("```python\n") > 0


def test_every_name_of_the_module_and_what_a_group_and_a_handle_can_do_is_on_the_page() -> None:
    of_a_group = {"rank", "size", "coalesce", "shrink", "failure", "abort", "topology", "close"}
    assert of_a_group <= set(dir(Group))
    for name in {*native.__all__, *of_a_group, *(each for each in dir(Handle) if each.isalpha())}:
        assert re.search(rf"[`.]{name}\b", TEXT), name


def test_every_setting_is_on_the_page() -> None:
    names = [value for value in vars(settings).values() if re.fullmatch(r"(JOBKIT|MLX)_\w+", str(value))]
    assert len(names) > 5
    for name in names:
        assert f"`{name}`" in TEXT


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


def applies(row: tuple[str, ...], size: int, n_bytes: int) -> bool:
    """Whether a row is the first one for its call that says it is used for this size."""
    topology, call, *_ = row
    for each in (each for each in ROWS if each[:2] == (topology, call)):
        condition = each[2].strip("`").replace(" KiB", " * 1024")
        if condition in ("all", "else") or eval(condition, {"P": size, "S": n_bytes}):
            return each == row
    return False


def plans(call: str, topology: str, size: int, n_bytes: int) -> list[tuple[Any, ...]]:
    """Return what every rank does, its counts in units of `width` bytes."""
    count = n_bytes // size if call in IN_BLOCKS else n_bytes
    return [
        _core.plan(CALLS[call], rank, size, count, topology, n_bytes_per_element=1) for rank in range(size)
    ]


def n_steps(made: list[tuple[Any, ...]]) -> int:
    """Return the length of the longest chain of messages each of which needs the one before."""
    sends = {
        (r, step["peer"], step["message"]): (r, i)
        for r, (_, _, steps) in enumerate(made)
        for i, step in enumerate(steps)
        if step["kind"] == "send"
    }

    @functools.cache
    def depth(r: int, index: int) -> int:
        step = made[r][2][index]
        needs = [*step["after"], *step["gate"], *(i for i in step["streams"] if i >= 0)]
        depths = [0, *(depth(r, i) for i in needs)]
        if step["kind"] == "receive":
            depths.append(1 + depth(*sends[step["peer"], r, step["message"]]))
        return max(depths)

    return max(depth(r, i) for r, (_, _, steps) in enumerate(made) for i in range(len(steps)))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[1]}-{row[3]}")
def test_a_schedule_takes_the_steps_and_bytes_of_its_row(row: tuple[str, ...]) -> None:
    topology, call, _, schedule, steps, n_bytes = row
    cases = [(p, s) for p in range(2, 10) for s in (SMALL, LARGE) if applies(row, p, s)]
    assert cases
    for p, s in cases:
        made = plans(call, topology, p, s if call != "barrier" else 0)
        assert {plan[0] for plan in made} == {schedule}
        values = {"P": p, "S": s, "ceil": math.ceil, "floor": math.floor, "log2": math.log2}
        assert n_steps(made) == eval(steps, values), (p, s)
        sent = [sum(step["parts"][0][2] for step in plan[2] if step["kind"] == "send") for plan in made]
        assert max(sent) == eval(n_bytes, values), (p, s)
