from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobkit.jobs import find

Jobkit = Callable[..., Any]
Spec = Callable[..., str]

TRUE = "run: 'true'\nbackend: none\n"


def test_no_jobs_are_an_empty_table_and_an_empty_list(jobkit: Jobkit, jobkit_home: Path) -> None:
    done = jobkit("list")
    assert done.status == 0
    assert done.out.split() == [
        "JOB",
        "STATE",
        "EXIT",
        "TOOK",
        "RANKS",
        "CREATED",
        "EXECUTOR",
        "NAME",
        "REASON",
    ]
    assert jobkit("list", "--json").json == []
    assert not jobkit_home.exists()


def test_jobs_are_listed_in_the_order_of_their_creation(jobkit: Jobkit, spec: Spec) -> None:
    jobkit("submit", spec(TRUE), "--wait", "--id", "z")
    jobkit(
        "submit", spec("run: bash -c 'exit 7'\nbackend: none\nsweep: {a: [1, 2]}\n"), "--wait", "--id", "a"
    )
    rows = [line.split() for line in jobkit("list").out.splitlines()[1:]]
    assert [row[0] for row in rows] == ["z", "a"]
    assert rows[0][1:4] == ["succeeded", "exit", "0"]
    assert rows[1][1:4] == ["failed", "exit", "7"]
    assert rows[1][5:8] == ["2", "x", "1"]
    listed = jobkit("list", "--json").json
    assert [job["state"] for job in listed] == ["succeeded", "failed"]
    status = jobkit("status", "a", "--json").json
    assert status.pop("failure")["class"] == "exit 7"
    assert listed[1] == status


@pytest.mark.parametrize("content", [b"{", b"", b'{"schema": 99}', b"\xff", None])
def test_a_job_that_cannot_be_read_is_shown_as_such(
    content: bytes | None, jobkit: Jobkit, spec: Spec
) -> None:
    jobkit("submit", spec(TRUE), "--wait", "--id", "a")
    path = find.one("a", os.environ).folder / "record.json"
    path.unlink() if content is None else path.write_bytes(content)
    done = jobkit("list", "--json")
    (job,) = done.json
    assert (done.status, job["id"], job["state"]) == (0, "a", "lost")
    assert "record.json" in job["reason"]
    assert "lost" in jobkit("list").out
    status = jobkit("status", "a")
    assert status.status != 0
    assert "record.json" in status.err


def test_a_link_to_a_folder_that_is_gone_is_shown_as_such(jobkit: Jobkit, spec: Spec, work: Path) -> None:
    jobkit("submit", spec(TRUE + "run_dir: runs\n"), "--wait", "--id", "a")
    (work / "runs").rename(work / "elsewhere")
    (job,) = jobkit("list", "--json").json
    assert (job["id"], job["state"]) == ("a", "lost")
    assert jobkit("clean", "a").status == 0
    assert jobkit("list", "--json").json == []


@pytest.mark.slow
def test_listing_while_jobs_come_and_go_never_fails(jobkit: Jobkit, spec: Spec, work: Path) -> None:
    name = spec(TRUE)
    stop = threading.Event()
    wrong: list[object] = []

    def look() -> None:
        from jobkit.cli import list_

        while not stop.is_set():
            try:
                for found in find.every(os.environ):
                    list_.describe(found)
            except BaseException as error:  # noqa: BLE001  reported by the main thread
                wrong.append(error)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for k in range(4):
            jobkit("submit", name, "--id", f"j{k}", "--wait")
            jobkit("clean", f"j{k}")
    finally:
        stop.set()
        watcher.join()
    assert wrong == []


def test_a_list_from_the_index_is_the_list_from_the_records(
    jobkit: Jobkit, spec: Spec, jobkit_home: Path
) -> None:
    for job, status in (("a", 0), ("b", 7)):
        jobkit("submit", spec(f"run: bash -c 'exit {status}'\nbackend: none\n"), "--wait", "--id", job)
        record = jobkit_home / "jobs" / job / "record.json"
        os.utime(record, (record.stat().st_mtime - 60,) * 2)
    first = jobkit("list").out
    assert set(json.loads((jobkit_home / "index.json").read_bytes())["jobs"]) == {"a", "b"}
    assert jobkit("list").out == first
    index = jobkit_home / "index.json"
    index.write_bytes(index.read_bytes().replace(b'"succeeded",', b""))  # a row of another table's
    assert jobkit("list").out == first
    record = jobkit_home / "jobs" / "a" / "record.json"
    record.write_bytes(record.read_bytes().replace(b'"succeeded"', b'"cancelled"'))
    assert "cancelled" in jobkit("list").out
    assert jobkit("status", "last").out.split()[1] == "b"
