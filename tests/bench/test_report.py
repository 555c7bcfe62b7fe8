from __future__ import annotations

import json

from jobkit.bench import report
from jobkit.bench.cases import case
from jobkit.bench.measure import Result
from jobkit.bench.verdict import verdicts

CASE = case("all_sum", 2, 65536, "float32", "out")
OURS = Result("jobkit", "jobkit 1", CASE, "out", 10e-6, 8e-6, 9e-6, 20e-6, 9.5e-6, 0, limit=13.1072e9)
THEIRS = Result("mlx", "MLX 1", CASE, "alloc", 54e-6, 51e-6, 50e-6, 90e-6, 100e-6, 2, is_default=True)


def test_a_row_has_a_cell_for_every_column() -> None:
    assert dict(zip(report.COLUMNS, report.row(OURS), strict=True)) == {
        "BYTES": "64K", "COUNT": "16384", "DTYPE": "float32", "OP": "all_sum", "RANKS": "2", "WHO": "jobkit",
        "FORM": "out", "TIME us": "10.0", "BEST us": "8.00", "P50 us": "9.00", "P99 us": "20.0",
        "ALGBW GB/s": "6.55", "BUSBW GB/s": "6.55", "WRONG": "0", "CPU us": "9.50", "OF LIMIT": "50%",
    }  # fmt: skip


def test_a_verdict_names_the_best_peer_and_the_best_as_it_comes() -> None:
    (verdict,) = verdicts([[OURS, THEIRS]])

    cells = report.verdict_row(verdict)

    assert len(cells) == len(report.VERDICT)
    assert cells[4:] == ("10.0", "mlx", "54.0", "5.40", "mlx", "54.0")
    assert report.summary([verdict]).startswith("first in 1 of 1 cases; worst ratio 5.40, all_sum of 64K")
    assert report.summary(verdicts([[OURS]])) == ""


def test_json_has_seconds_and_bytes_per_second() -> None:
    found = json.loads(json.dumps(report.as_json(THEIRS)))

    assert (found["n_bytes"], found["time_s"], found["wrong"], found["of_limit"]) == (65536, 54e-6, 2, None)
    assert found["busbw"] == 65536 / 54e-6


def test_a_document_has_a_table_for_each_kind_of_case_and_a_column_for_each_contender() -> None:
    larger = case("all_sum", 2, 1 << 20, "float32", "out")
    alone = Result("jobkit", "jobkit 1", larger, "out", 1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 0)

    assert report.document([[OURS, THEIRS], [], [alone]]) == [
        "### all_sum, float32, 2 ranks, out",
        "",
        "| bytes | jobkit, µs | mlx, µs | busbw, GB/s | of limit |",
        "| --- | --- | --- | --- | --- |",
        "| 64K | 10.0 | 54.0 | 6.55 | 50% |",
        "| 1M | 1000 |  | 1.05 |  |",
        "",
    ]


def test_progress_is_a_line_a_case() -> None:
    assert report.line([OURS, THEIRS]) == "all_sum float32 2 ranks 64K: jobkit 10.0, mlx 54.0 us"
