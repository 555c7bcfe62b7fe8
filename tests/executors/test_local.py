from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from jobkit.errors import SpecError, SubmitError
from jobkit.executors import local
from jobkit.jobs import process, record
from jobkit.jobs.record import Origin
from jobkit.jobs.submission import Submission
from jobkit.plan import plan
from jobkit.spec import parse


def prepared(text: str, **environ: str) -> Submission:
    around = {"JOBKIT_HOME": "/home/jobkit", **environ}
    return local.prepare(plan(parse(text, "a.yaml", around), cwd="/project"), "a", text, around)


def test_the_keeper_is_started_on_the_run_folder() -> None:
    sent = prepared("run: 'true'\n")
    assert sent.run_dir == "/home/jobkit/jobs/a"
    assert sent.command == (sys.executable, "-m", "jobkit.jobs.keeper", "/home/jobkit/jobs/a")
    assert [file.path for file in sent.files] == ["spec.yaml", "plan.json"]


def test_a_run_dir_of_the_spec_holds_the_folder_of_the_job() -> None:
    assert prepared("run: 'true'\nrun_dir: runs\n").run_dir == "/project/runs/a"


def test_what_the_spec_sets_is_shown_but_no_secret() -> None:
    text = "run: x\nenv: {A: '1'}\nforward: [B]\nsecrets: [C]\n"
    sent = prepared(text, B="2", C="3", D="4")
    assert sent.environ == {"A": "1", "B": "2", "C": None}
    assert sent.secrets == ("C",)
    assert sent.files[-1].path == "secrets"
    assert sent.files[-1].text is None


def test_a_variable_that_differs_between_points_has_no_single_value() -> None:
    sent = prepared("run: x\nenv: {A: '${{ sweep.a }}', B: '1'}\nsweep: {a: [1, 2]}\n")
    assert sent.environ == {"A": None, "B": "1"}


def test_every_missing_name_is_told() -> None:
    with pytest.raises(SpecError) as caught:
        prepared("run: x\nforward: [B]\nsecrets: [C]\n")
    assert "got 'B'" in str(caught.value)
    assert "got 'C'" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "present", "absent"),
    [
        ("ranks: 2\nbackend: ring", {"MLX_RANK", "MLX_HOSTFILE", "JOBKIT_BACKEND", "RANK"}, {"NCCL_PORT"}),
        ("ranks: 2", {"MLX_RANK", "MLX_HOSTFILE"}, set()),
        ("ranks: 1\nbackend: ring", {"JOBKIT_RANK", "RANK"}, {"MLX_RANK", "MLX_HOSTFILE"}),
        ("ranks: 2\nbackend: none", {"JOBKIT_RANK"}, {"MLX_RANK", "RANK", "JOBKIT_BACKEND"}),
    ],
)
def test_what_the_shim_will_set_is_announced(text: str, present: set[str], absent: set[str]) -> None:
    names = set(prepared(f"run: x\n{text}\n").after_placement)
    assert present <= names
    assert not absent & names


def test_what_is_announced_is_what_a_rank_finds(tmp_path: Path, jobkit_home: Path, origin: Origin) -> None:
    text = f"run: [bash, -c, 'env > {tmp_path}/$JOBKIT_RANK']\nranks: 2\nbackend: ring\n"
    sent = local.prepare(plan(parse(text, "a.yaml", os.environ), cwd=str(tmp_path)), "a", text, os.environ)
    run_dir = local.submit(sent, os.environ, origin)
    wait_for_the_end(run_dir)
    found = {line.partition("=")[0] for line in (tmp_path / "1").read_text().splitlines()}
    assert set(sent.after_placement) <= found


def wait_for_the_end(run_dir: Path) -> None:
    import time

    deadline = time.monotonic() + 60
    while record.read(run_dir).state not in record.ENDED:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert record.read(run_dir).state == "succeeded", record.read(run_dir).reason


@pytest.fixture
def origin() -> Origin:
    me = process.identify(os.getpid())
    assert me is not None
    return Origin((), "/", "a.yaml", None, None, (), (), "0", None, me)


@pytest.mark.parametrize(
    "command", [("/nowhere/python",), (sys.executable, "-c", "raise SystemExit('no keeper')")]
)
def test_a_keeper_that_does_not_start_is_told_and_written_down(
    command: tuple[str, ...], tmp_path: Path, jobkit_home: Path, origin: Origin
) -> None:
    text = "run: 'true'\nsecrets: [TOKEN]\n"
    around = {**os.environ, "TOKEN": "s3cret"}
    sent = local.prepare(plan(parse(text, "a.yaml", around), cwd=str(tmp_path)), "a", text, around)
    with pytest.raises(SubmitError, match=r"its keeper did not start: .*(No such file|no keeper)"):
        local.submit(replace(sent, command=command), around, origin)
    known = record.read(jobkit_home / "jobs" / "a")
    assert (known.state, known.exit and known.exit.status) == ("lost", 125)
    assert "s3cret" not in (jobkit_home / "jobs" / "a" / "secrets").read_text()
