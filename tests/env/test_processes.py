from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobkit.env.processes import POLL_S, Ending, marks, members, send

SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")
JOB = f"test-processes-{os.getpid()}"


def test_a_process_that_carries_the_job_in_its_environment_is_a_member() -> None:
    environ = {**os.environ, "JOBKIT_JOB": JOB}
    with (
        subprocess.Popen(SLEEP, env=environ, start_new_session=True) as mine,
        subprocess.Popen(SLEEP) as child,
    ):
        found = members(marks(JOB), ())
        for process in (mine, child):
            process.kill()
    assert {mine.pid, child.pid} <= found
    assert os.getpid() not in found


def test_a_longer_id_is_another_job() -> None:
    program = (
        "import sys; from jobkit.env.processes import marks, members; print(*members(marks(sys.argv[1]), ()))"
    )
    environ = {**os.environ, "JOBKIT_JOB": f"{JOB}0"}
    with subprocess.Popen(SLEEP, env=environ, start_new_session=True) as other:
        seen = subprocess.run(
            [sys.executable, "-c", program, JOB], capture_output=True, text=True, check=True
        )
        other.kill()
    assert str(other.pid) not in seen.stdout.split()


def test_a_job_of_the_same_id_with_another_run_folder_is_another_job() -> None:
    program = "import sys; from jobkit.env import processes\n"
    program += "print(*processes.members(processes.marks(*sys.argv[1:]), ()))"
    environ = {**os.environ, "JOBKIT_JOB": JOB, "JOBKIT_RUN_DIR": "/homes/one"}
    with subprocess.Popen(SLEEP, env=environ, start_new_session=True) as one:
        command = [sys.executable, "-c", program, JOB]
        seen = [
            subprocess.run([*command, run_dir], capture_output=True, text=True, check=True).stdout.split()
            for run_dir in ("/homes/one", "/homes/other")
        ]
        one.kill()
    assert [str(one.pid) in pids for pids in seen] == [True, False]


def test_a_run_folder_whose_name_is_not_utf_8_tells_jobs_apart() -> None:
    folder = os.fsdecode(b"/runs\xff/j")
    carried = {"JOBKIT_JOB": "j-bytes", "JOBKIT_RUN_DIR": folder}
    process = subprocess.Popen(["sleep", "600"], env={**os.environ, **carried}, start_new_session=True)
    try:
        assert process.pid in members(marks("j-bytes", folder), ())
    finally:
        process.kill()
        process.wait()


def test_the_keeper_of_another_job_and_what_it_started_are_not_members() -> None:
    program = (
        "import subprocess, sys; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); p.wait()"
    )
    environ = {**os.environ, "JOBKIT_KEEPER": "other"}
    with subprocess.Popen((sys.executable, "-c", program), env=environ, stdout=subprocess.PIPE) as keeper:
        assert keeper.stdout is not None
        below = int(keeper.stdout.readline())
        found = members(marks(JOB), ())
        os.kill(below, signal.SIGKILL)
        keeper.kill()
    assert not {keeper.pid, below} & found


def test_a_signal_to_a_process_that_has_ended_is_no_error() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    send(process.pid, signal.SIGTERM)


def test_ending_is_polite_first_and_then_is_not(wait: Callable[..., Any], tmp_path: Path) -> None:
    deaf = f"import signal, time; signal.signal(15, 1); open({str(tmp_path / 'up')!r}, 'w'); time.sleep(600)"
    started = [subprocess.Popen(command) for command in (SLEEP, (sys.executable, "-c", deaf))]
    assert wait(lambda: (tmp_path / "up").exists())
    ending = Ending(lambda: {process.pid for process in started if process.poll() is None}, grace_s=0.3)
    while not ending.step():
        time.sleep(POLL_S)
    assert [process.returncode for process in started] == [-signal.SIGTERM, -signal.SIGKILL]


def test_every_child_that_has_ended_is_collected() -> None:
    program = """
import os, time
from jobkit.env.processes import reap
pids = [os.fork() or os._exit(3) for _ in range(3)]
statuses = {}
while len(statuses) < 3:
    statuses.update(reap())
assert statuses == dict.fromkeys(pids, 3 << 8), statuses
assert reap() == {}
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("graces", [(5.0, 0.0), (0.0, 5.0)])
def test_a_grace_is_shortened_never_lengthened(graces: tuple[float, float]) -> None:
    ending = Ending(lambda: {2**22 + 1}, graces[0])
    ending.hasten(graces[1])
    assert ending._kill_at <= time.monotonic()


def test_what_cannot_be_ended_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobkit.env.processes.GIVE_UP_S", 0.0)
    ending = Ending(lambda: {2**22 + 1}, 0.0)
    time.sleep(0.01)
    assert ending.step()
    assert ending.left == {2**22 + 1}
