"""Results as rows of a table, lines of JSON, or Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from jobkit.bench.measure import Result
from jobkit.bench.units import gigabytes, microseconds, size
from jobkit.bench.verdict import Verdict, worst

COLUMNS = (
    "BYTES", "COUNT", "DTYPE", "OP", "RANKS", "WHO", "FORM", "TIME us", "BEST us", "P50 us",
    "P99 us", "ALGBW GB/s", "BUSBW GB/s", "WRONG", "CPU us", "OF LIMIT",
)  # fmt: skip
VERDICT = (
    "BYTES", "DTYPE", "OP", "RANKS", "OURS us", "BEST PEER", "PEER us", "RATIO", "DEFAULT PEER", "PEER us",
)  # fmt: skip


def row(result: Result) -> tuple[str, ...]:
    """Return a result as cells under COLUMNS."""
    case = result.case
    what = (size(case.n_bytes), str(case.count), case.dtype, case.op, str(case.size))
    times = (microseconds(t) for t in (result.time_s, result.best_s, result.p50_s, result.p99_s))
    rates = (gigabytes(rate) for rate in (result.algbw, result.busbw))
    of_limit = "" if result.of_limit is None else f"{result.of_limit:.0%}"
    cost = (str(result.wrong), microseconds(result.cpu_s), of_limit)
    return (*what, result.contender, result.form, *times, *rates, *cost)


def verdict_row(verdict: Verdict) -> tuple[str, ...]:
    """Return a verdict as cells under VERDICT."""
    case = verdict.case
    what = (size(case.n_bytes), case.dtype, case.op, str(case.size), microseconds(verdict.ours.time_s))
    ratio = "" if verdict.ratio is None else f"{verdict.ratio:.2f}"
    return (*what, *_peer(verdict.best), ratio, *_peer(verdict.best_default))


def _peer(result: Result | None) -> tuple[str, str]:
    return (result.contender, microseconds(result.time_s)) if result else ("", "")


def summary(found: Sequence[Verdict]) -> str:
    """Return the worst of the verdicts in a sentence; "" where there is nobody to compare with."""
    one = worst(found)
    if one is None or one.best is None or one.ratio is None:
        return ""
    ratios = [verdict.ratio for verdict in found if verdict.ratio is not None]
    ahead = sum(1 for ratio in ratios if ratio >= 1)
    case = one.case
    where = f"{case.op} of {size(case.n_bytes)} ({case.dtype}, {case.size} ranks)"
    worst_ratio = f"worst ratio {one.ratio:.2f}, {where} against {one.best.contender}"
    return f"first in {ahead} of {len(ratios)} cases; {worst_ratio}"


def as_json(result: Result) -> dict[str, Any]:
    """Return a result as JSON's own types: seconds, bytes per second, a fraction of the limit."""
    case = result.case
    rates = {"algbw": result.algbw, "busbw": result.busbw, "of_limit": result.of_limit}
    flat = {name: value for name, value in asdict(result).items() if name != "case"}
    return {"op": case.op, "ranks": case.size, "dtype": case.dtype, "count": case.count,
            "n_bytes": case.n_bytes, **flat, **rates}  # fmt: skip


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown.

    >>> markdown(("A", "B"), [("1", "2")])
    ['| A | B |', '| --- | --- |', '| 1 | 2 |']
    """
    lines = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def line(row: Sequence[Result]) -> str:
    """Return one case in a line of text, for progress."""
    case = row[0].case
    times = ", ".join(f"{result.contender} {microseconds(result.time_s)}" for result in row)
    return f"{case.op} {case.dtype} {case.size} ranks {size(case.n_bytes)}: {times} us"


def document(results: Sequence[Sequence[Result]]) -> list[str]:
    """Return Markdown: a heading and a table for each operation, type, form and number of ranks."""
    groups: dict[str, list[Sequence[Result]]] = {}
    for row in results:
        if row:
            case = row[0].case
            title = f"{case.op}, {case.dtype}, {case.size} ranks, {case.form}"
            groups.setdefault(title, []).append(row)
    lines = []
    for title, rows in groups.items():
        lines += [f"### {title}", "", *markdown(*side_by_side(rows)), ""]
    return lines


def side_by_side(results: Sequence[Sequence[Result]]) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return a compact table for documents: a line a case, a column a contender, times in microseconds."""
    names = list(dict.fromkeys(result.contender for row in results for result in row))
    columns = ["bytes", *(f"{name}, µs" for name in names), "busbw, GB/s", "of limit"]
    return columns, [_line(row, names) for row in results if row]


def _line(row: Sequence[Result], names: Sequence[str]) -> tuple[str, ...]:
    times = {result.contender: microseconds(result.time_s) for result in row}
    first = row[0]
    of_limit = "" if first.of_limit is None else f"{first.of_limit:.0%}"
    return (
        size(first.case.n_bytes),
        *(times.get(name, "") for name in names),
        gigabytes(first.busbw),
        of_limit,
    )
