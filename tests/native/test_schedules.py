"""Measured tables of schedules in files."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobkit.native import schedules
from jobkit.native.schedules import Tables

TABLE = "all_sum@2:4096=two-shot"


@pytest.fixture
def kept(tmp_path: Path) -> Tables:
    """Tables with one table, for "2 ranks"."""
    made = Tables(tmp_path / "cache" / "jobkit", processor="Pentium")
    made.keep("2 ranks", TABLE)
    return made


def file_of(tables: Tables) -> Path:
    (found,) = tables.folder.iterdir()
    return found


def test_what_was_kept_is_there_for_its_conditions_only(kept: Tables) -> None:
    assert kept.recall("2 ranks") == TABLE
    assert kept.recall("3 ranks") is None
    assert Tables(kept.folder, version="0", processor="Pentium").recall("2 ranks") is None
    assert Tables(kept.folder, processor="Alpha").recall("2 ranks") is None


def test_a_table_without_rows_is_a_table(kept: Tables) -> None:
    kept.keep("2 ranks", "")

    assert kept.recall("2 ranks") == ""


def test_files_are_this_users_alone(kept: Tables) -> None:
    assert stat.S_IMODE(file_of(kept).stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.folder.stat().st_mode) == 0o700


def edit(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(change(path.read_bytes()))

    return write


def to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def to_link(path: Path) -> None:
    path.symlink_to(path.rename(path.with_name("elsewhere")))


@pytest.mark.parametrize(
    "spoil",
    [
        edit(lambda text: text[:0]),
        edit(lambda text: text[:-1]),
        edit(lambda text: text + b"more\n"),
        edit(lambda text: b"x" + text),
        edit(lambda text: text.replace(b"all_sum", b"\xff\xfe")),
        edit(lambda text: text + b"x" * 10_000),
        lambda path: path.chmod(0o620),
        lambda path: path.unlink(),
        to_fifo,
        to_link,
    ],
    ids=["empty", "cut", "longer", "another head", "binary", "huge", "writable", "gone", "fifo", "link"],
)
def test_what_is_not_as_it_was_kept_is_not_there_and_is_replaced(
    kept: Tables, spoil: Callable[[Path], None]
) -> None:
    spoil(file_of(kept))

    assert kept.recall("2 ranks") is None
    kept.keep("2 ranks", TABLE)
    assert kept.recall("2 ranks") == TABLE


def test_a_file_of_another_user_is_not_there(kept: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: file_of(kept).stat().st_uid + 1)

    assert kept.recall("2 ranks") is None


def test_a_folder_that_cannot_be_is_silent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    tables = Tables(tmp_path / "file" / "jobkit")

    tables.keep("2 ranks", TABLE)

    assert tables.recall("2 ranks") is None


def test_a_folder_that_cannot_be_written_is_silent(kept: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(schedules.tempfile, "mkstemp", refuse)

    kept.keep("2 ranks", "")

    assert kept.recall("2 ranks") == TABLE


def test_a_table_that_cannot_be_put_in_its_place_leaves_nothing(tmp_path: Path, kept: Tables) -> None:
    path = file_of(kept)
    path.unlink()
    path.mkdir()

    kept.keep("2 ranks", TABLE)

    assert file_of(kept) == path


def test_tables_are_in_the_users_cache() -> None:
    assert schedules.tables({"XDG_CACHE_HOME": "/c"}) == Tables(
        Path("/c/jobkit"), processor=schedules.processor()
    )
    assert schedules.tables({"XDG_CACHE_HOME": "relative"}) is None


def test_the_processor_is_the_first_that_linux_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "CPU_INFO", tmp_path / "cpuinfo")
    assert schedules.processor() == ""
    (tmp_path / "cpuinfo").write_text("vendor\t: x\nmodel name\t: Pentium® 90\n\nmodel name\t: Alpha\n")
    assert schedules.processor() == "Pentium? 90"


PROGRAM = 'print(world.topology()["schedules"])'


def test_ranks_keep_what_they_measured_and_use_it_the_next_time(run_processes: Any, tmp_path: Path) -> None:
    pytest.importorskip("jobkit.native._core")
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    first = run_processes(2, PROGRAM, **cache)
    assert first[0] == first[1]
    (file,) = (tmp_path / "jobkit").iterdir()
    head, table, end = file.read_text().split("\n")
    assert (f"{table}\n", end) == (first[0], "")
    file.write_text(f"{head}\n{TABLE}\n")

    assert run_processes(2, PROGRAM, **cache) == [f"{TABLE}\n"] * 2
    assert run_processes(2, PROGRAM, JOBKIT_SCHEDULE="builtin", **cache) == ["\n"] * 2
    assert run_processes(2, PROGRAM, JOBKIT_SCHEDULE="all_sum=ring", **cache) == ["all_sum=ring\n"] * 2


def test_builtin_measures_nothing(run_processes: Any, tmp_path: Path) -> None:
    pytest.importorskip("jobkit.native._core")

    run_processes(2, PROGRAM, JOBKIT_SCHEDULE="builtin", XDG_CACHE_HOME=str(tmp_path))

    assert not (tmp_path / "jobkit").exists()


def test_a_cache_that_cannot_be_written_is_silent(run_processes: Any, tmp_path: Path) -> None:
    pytest.importorskip("jobkit.native._core")
    file = tmp_path / "file"
    file.write_text("")
    program = "print(dist.all_sum(np.ones(2)).tolist())"

    assert run_processes(2, program, XDG_CACHE_HOME=str(file)) == ["[2.0, 2.0]\n"] * 2
