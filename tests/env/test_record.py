from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest

from jobkit.env.record import RankExit, now, read_victim, signal_name, write_exit

ENDED = RankExit(2, "a", 3, None, False, None, "exit", "t0", "t1", 0)


def test_a_record_is_private_and_whole(tmp_path: Path) -> None:
    write_exit(tmp_path, ENDED)
    (path,) = tmp_path.iterdir()
    assert (path.name, path.stat().st_mode & 0o777) == ("rank-2.exit.json", 0o600)
    assert json.loads(path.read_text())["status"] == 3


def test_a_folder_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        write_exit(tmp_path / "gone", ENDED)


@pytest.mark.parametrize(
    ("text", "victim_of"),
    [
        ('{"victim_of": 1}', 1),
        ('{"victim_of": 2}', None),
        ("{}", None),
        ("[1]", None),
        ("{", None),
        ("[" * 100_000, None),
    ],
)
def test_a_rank_may_name_another_as_the_culprit(tmp_path: Path, text: str, victim_of: int | None) -> None:
    (tmp_path / "rank-2.victim.json").write_text(text)
    assert read_victim(tmp_path, 2) == victim_of


def test_a_rank_that_names_nobody_is_no_victim(tmp_path: Path) -> None:
    assert read_victim(tmp_path, 2) is None


def test_every_signal_has_a_name() -> None:
    assert signal_name(9) == "SIGKILL"
    assert all(signal_name(number).startswith("SIG") for number in range(1, 65))


@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="no real-time signals here")
def test_a_real_time_signal_is_counted_from_the_first() -> None:
    assert signal_name(signal.SIGRTMIN) == "SIGRTMIN"
    assert signal_name(signal.SIGRTMIN + 6) == "SIGRTMIN+6"


def test_times_are_rfc_3339_in_utc() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", now())
