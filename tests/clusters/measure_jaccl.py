"""Measure jaccl on soft-RoCE and write the table into docs/jaccl.md: `make measure-jaccl`.

The bare loop of verbs and the ranks run in turns, in one guest: what else the machine does falls on both. The
table is for its ratios; a guest's processors are emulated.
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

from clusters import guests, rxe

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "jaccl.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
TURNS, ROUNDS = 5, 100
LARGE, LARGE_ROUNDS = 1 << 20, 5

# Sleeps until it is its turn, and says how many microseconds an operation took. Warm when it is first asked.
RANKS = """
import os, pathlib, time
import numpy as np
import jobkit.native as dist
group = dist.init(strict=True, backend="jaccl")
x = np.ones(int(os.environ["BYTES"]) // 8)
rounds = int(os.environ["ROUNDS"])
for _ in range(rounds):
    dist.all_sum(x)
for turn in range(int(os.environ["TURNS"])):
    while not pathlib.Path(f"/tmp/turn{turn}").exists():
        time.sleep(0.01)
    dist.barrier()
    start = time.perf_counter()
    for _ in range(rounds):
        dist.all_sum(x)
    took = time.perf_counter() - start
    if group.rank() == 0:
        done = pathlib.Path(f"/tmp/took{turn}.new")
        done.write_text(str(took / rounds * 1e6))
        done.rename(f"/tmp/took{turn}")
"""


def in_turns(
    guest: guests.Guest, n: int, kind: str, n_bytes: int, rounds: int, *other: str
) -> list[list[str]]:
    """Return the pairs of what another command says and what the ranks of a sum say, a pair for each turn."""
    variables = {"BYTES": str(n_bytes), "ROUNDS": str(rounds), "TURNS": str(TURNS), "JOBKIT_JACCL_QP": kind}
    matrix = [[None if i == j else "rxe0" for j in range(n)] for i in range(n)]
    guest.run("sh", "-c", "rm -f /tmp/turn* /tmp/took*")
    number = rxe.start(guest, 0, n, RANKS, rxe.environ([guest], matrix, "127.0.0.1", **variables))
    pairs = []
    for turn in range(TURNS):
        told = guest.run(*other).stdout
        until = (
            f"touch /tmp/turn{turn}; until [ -e /tmp/took{turn} ]; do sleep 0.05; done; cat /tmp/took{turn}"
        )
        pairs.append([told, guest.run("timeout", "120", "sh", "-c", until).stdout])
    ranks = rxe.wait(guest, number)
    assert all(rank["status"] == 0 for rank in ranks), ranks
    return pairs


def small(guest: guests.Guest, loop: Path, n: int, kind: str) -> str:
    """Return the row of the table for sums of 8 bytes."""
    words = (str(loop), "rxe0", "1", str(n), "8", str(ROUNDS), kind)
    pairs = [list(map(float, pair)) for pair in in_turns(guest, n, kind, 8, ROUNDS, *words)]
    bare, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(pair[1] / pair[0] for pair in pairs)
    return f"| {n} | {kind.upper()} | {bare:.0f} | {ours:.0f} | {ratio:.2f} |"


def large(guest: guests.Guest, kind: str) -> str:
    """Return the row of the table for a sum of 1 MiB of two ranks."""
    options = f"-d rxe0 -x 1 -b -n 100 -c {kind.upper()}"
    client = f"until ib_send_bw {options} 127.0.0.1 2>/dev/null; do sleep 0.2; done; wait"
    both = f"ib_send_bw {options} >/dev/null & {client}"
    pairs = in_turns(guest, 2, kind, LARGE, LARGE_ROUNDS, "bash", "-c", both)
    ratios, bare, ours = [], [], []
    for told, microseconds in pairs:
        found = re.search(r"^ 65536 +\d+ +[\d.]+ +([\d.]+)", told, re.MULTILINE)
        assert found, told
        bare.append(float(found[1]) * (1 << 20) / 1e6)
        ours.append(2 * LARGE / float(microseconds))
        ratios.append(ours[-1] / bare[-1])
    middle = [statistics.median(column) for column in (bare, ours, ratios)]
    return f"| {kind.upper()} | {middle[0]:.0f} | {middle[1]:.0f} | {100 * middle[2]:.0f} % |"


def table() -> str:
    """Measure, and return the text between the marks."""
    with tempfile.TemporaryDirectory() as name, guests.one(Path(name)) as guest:
        loop = Path(name) / "verbs_loop"
        compiler = shutil.which("cc") or "gcc"
        source = str(Path(__file__).with_name("verbs_loop.c"))
        subprocess.run([compiler, "-O2", "-o", str(loop), source, "-libverbs"], check=True)
        rows = [
            f"Medians of {TURNS} turns of {ROUNDS} sums of 8 bytes, in microseconds:",
            "",
            "| Ranks | Kind | Bare loop | all_sum | Ratio |",
            "|---|---|---|---|---|",
        ]
        for n in (2, 3, 4):
            rows.append(small(guest, loop, n, "rc"))
            print(rows[-1], flush=True)
        rows += [
            "",
            f"Medians of {TURNS} turns of {LARGE_ROUNDS} sums of 1 MiB of two ranks, in MB/s both ways:",
            "",
            "| Kind | `ib_send_bw -b` | all_sum, 2 x bytes / time | Share |",
            "|---|---|---|---|",
        ]
        rows.append(large(guest, "rc"))
        print(rows[-1], flush=True)
        return "\n".join(rows)


def main() -> None:
    """Replace what is between the marks of the page."""
    if reason := guests.why_not():
        raise SystemExit(reason)
    before, rest = PAGE.read_text().split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}")


if __name__ == "__main__":
    main()
