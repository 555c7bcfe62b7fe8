from __future__ import annotations

from pathlib import Path

import pytest

from jobkit.bench import plot
from jobkit.bench.cases import case
from jobkit.bench.measure import Result
from jobkit.errors import SpecError


def result(who: str, n_bytes: int, op: str = "all_sum") -> Result:
    one = case(op, 2, n_bytes, "float32", "out")
    return Result(who, who, one, "out", n_bytes * 1e-9, 0.0, 0.0, 0.0, 0.0, 0)


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [
        [result("jobkit", n, op), result("mlx", n, op)] for op in ("all_sum", "broadcast") for n in (8, 4096)
    ]

    plot.draw(rows, str(tmp_path / "a.png"))
    plot.draw(rows, str(tmp_path / "a.svg"))

    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize(
    ("name", "told"), [("a.pdf", "unknown kind of picture"), ("no/such/a.png", "no such folder")]
)
def test_what_cannot_be_drawn_is_said_before_the_measurement(tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(SpecError, match=told):
        plot.check(str(tmp_path / name))
