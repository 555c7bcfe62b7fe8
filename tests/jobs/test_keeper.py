"""The keeper with real agents, ranks and signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from jobkit.errors import SpecError
from jobkit.jobs import cancel, folder, process, record, truth
from jobkit.jobs.find import Found
from jobkit.jobs.record import Record

Start = Callable[..., Found]
End = Callable[[Found], Record]
Until = Callable[..., None]

SLEEP = "run: sleep 600\nbackend: none\n"


def output(
    found: Found, rank: int = 0, stream: str = "out", *, attempt: int = 1, point: str | None = None
) -> str:
    task_dir = folder.task_folder(found.folder, point)
    return folder.output(task_dir, attempt, rank, stream).read_text()


def state(found: Found) -> str:
    return truth.look(found.folder).state


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if process.identify(pid) is not None]


def ranks_of(found: Found) -> list[int]:
    return [rank.pid for task in truth.look(found.folder).tasks for rank in task.ranks if rank.pid]


def test_a_job_runs_to_its_end_and_its_record_tells_all(start: Start, ended: End) -> None:
    found = start("run: echo hello\nranks: 2\nbackend: none\n")
    known = ended(found)
    assert (known.state, known.reason, known.attempt) == ("succeeded", None, 1)
    assert known.exit == record.JobExit(0)
    assert [output(found, rank) for rank in (0, 1)] == ["hello\n", "hello\n"]
    (task,) = known.tasks
    assert [(rank.rank, rank.status, rank.ended_by_jobkit) for rank in task.ranks] == [
        (0, 0, False),
        (1, 0, False),
    ]
    assert all(rank.pid and rank.host and rank.started and rank.ended for rank in task.ranks)
    assert known.created <= str(known.started) <= str(known.ended)
    assert not (found.folder / "ballast").exists()
    assert (found.folder / "keeper.log").read_text() == ""


@pytest.mark.parametrize(
    ("run", "status", "kind"),
    [
        ("python -c 'raise SystemExit(7)'", 7, "exit 7"),
        ("bash -c 'kill -SEGV $$'", 139, "killed by signal 11 (SIGSEGV)"),
        ("/nowhere/program", 127, "not found"),
        ("/etc/passwd", 126, "not executable"),
    ],
)
def test_a_job_fails_as_its_program_does(run: str, status: int, kind: str, start: Start, ended: End) -> None:
    known = ended(start(f"run: {run}\nbackend: none\n"))
    assert known.state == "failed"
    assert known.exit is not None
    assert (known.exit.status, known.exit.kind) == (status, kind)


def test_the_first_failure_decides_and_ends_the_other_ranks(start: Start, ended: End) -> None:
    text = "run: bash -c 'if [ $JOBKIT_RANK = 1 ]; then exit 7; fi; sleep 600'\nranks: 2\nbackend: none\n"
    known = ended(start(text))
    assert known.exit is not None
    assert (known.exit.status, known.exit.rank, known.exit.host) == (7, 1, known.tasks[0].ranks[1].host)
    assert known.reason == f"rank 1 on {known.exit.host}: exit 7"
    assert [rank.ended_by_jobkit for rank in known.tasks[0].ranks] == [True, False]


def test_a_failure_whose_cause_is_known_is_explained(start: Start, ended: End) -> None:
    text = (
        'run: |\n  echo "[ring] Couldn\'t connect (error: 111)" >&2\n  exit 1\nshell: true\nbackend: none\n'
    )
    known = ended(start(text))
    assert known.exit is not None
    assert str(known.reason).startswith(f"rank 0 on {known.exit.host}: exit 1; MLX's ring could not connect")


def test_a_failing_setup_line_is_named(start: Start, ended: End) -> None:
    known = ended(start("run: 'true'\nbackend: none\nsetup: ['export A=1', 'false']\n"))
    assert (known.state, known.exit and known.exit.status) == ("failed", 125)
    assert "false" in str(known.reason)


def test_a_python_without_jobkit_is_told(start: Start, ended: End) -> None:
    known = ended(start("run: 'true'\npython: /nowhere/python\n"))
    assert (known.state, known.exit and known.exit.status) == ("failed", 125)
    assert "/nowhere/python" in str(known.reason)


def test_a_python_that_lacks_jobkit_is_told(start: Start, ended: End, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no module named jobkit >&2\nexit 1\n")
    python.chmod(0o755)
    known = ended(start(f"run: 'true'\npython: {python}\n"))
    assert (known.state, known.exit and known.exit.kind) == ("failed", "could not start")
    assert str(known.reason).endswith(": no module named jobkit")


def test_ranks_find_setup_forward_env_and_secrets_in_this_order(start: Start, ended: End) -> None:
    text = (
        "run: bash -c 'echo $A $B $C $D $OUTSIDE'\nbackend: none\n"
        "setup: ['export A=setup B=setup C=setup D=setup']\n"
        "forward: [B]\nenv: {C: env}\nsecrets: [D]\n"
    )
    found = start(text, A="a", B="forward", C="forward", D="secret", OUTSIDE="outside", MLX_RANK="9")
    assert ended(found).state == "succeeded"
    assert output(found) == "setup forward env secret outside\n"


def test_without_inherit_a_rank_finds_four_names_of_the_outside(start: Start, ended: End) -> None:
    found = start("run: env\ninherit: false\nbackend: none\n", OUTSIDE="outside", LANG="C", USER="somebody")
    assert ended(found).state == "succeeded"
    names = {line.partition("=")[0] for line in output(found).splitlines()}
    assert {"PATH", "HOME", "LANG", "USER"} <= names
    assert "OUTSIDE" not in names
    assert "JOBKIT_HOME" not in names


def test_a_secret_is_in_no_file_but_one_no_command_line_and_gone_at_the_end(
    start: Start, ended: End, until: Until, tmp_path: Path
) -> None:
    secret = "xyzzy-plugh-0815"
    text = f"run: bash -c 'test $TOKEN = {secret[:5]}-${{REST}} && touch {tmp_path}/seen && sleep 600'\n"
    text = text.replace("${REST}", "$REST") + "backend: none\nsecrets: [TOKEN]\nenv: {REST: plugh-0815}\n"
    found = start(text, TOKEN=secret)
    until((tmp_path / "seen").exists)
    holders = [
        path for path in found.folder.rglob("*") if path.is_file() and secret in path.read_text("latin-1")
    ]
    assert [path.name for path in holders] == ["secrets"]
    assert holders[0].stat().st_mode & 0o777 == 0o600
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert secret.encode() not in line.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
    keeper = truth.look(found.folder).keeper
    assert keeper is not None
    assert secret.encode() not in Path(f"/proc/{keeper.pid}/environ").read_bytes()
    cancel.request(found)
    ended(found)
    assert not [p for p in found.folder.rglob("*") if p.is_file() and secret in p.read_text("latin-1")]
    assert "TOKEN" in (found.folder / "secrets").read_text()


def test_the_submitting_environment_is_written_nowhere(start: Start, ended: End) -> None:
    found = start("run: 'true'\nbackend: none\n", OUTSIDE="xyzzy-plugh-0815")
    ended(found)
    assert not [p for p in found.folder.rglob("*") if p.is_file() and "xyzzy" in p.read_text("latin-1")]


def test_everything_in_the_run_folder_is_private(start: Start, ended: End) -> None:
    found = start("run: 'true'\nbackend: none\nsweep: {a: [1]}\n")
    ended(found)
    open_to_others = [p for p in [found.folder, *found.folder.rglob("*")] if p.lstat().st_mode & 0o077]
    assert not open_to_others


def test_the_programs_own_files_follow_the_users_umask(start: Start, ended: End, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        ended(start(f"run: touch {tmp_path}/made\nbackend: none\n"))
    finally:
        os.umask(before)
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o644


def test_a_job_over_its_time_ends_as_timeout(start: Start, ended: End) -> None:
    known = ended(start("run: sleep 600\ntime: 1s\nbackend: none\n"))
    assert (known.state, known.exit and known.exit.status) == ("timeout", 124)
    assert known.exit is not None and known.exit.kind == "time limit"
    assert "its time limit of 1.0s" in str(known.reason)


def test_the_program_gets_its_signal_ahead_of_the_limit(start: Start, ended: End) -> None:
    text = (
        "run: bash -c 'trap \"echo saved; exit 0\" USR1; echo ready; while :; do sleep 0.05; done'\n"
        "time: 601s\nsignal: {name: USR1, before: 600s}\nbackend: none\n"
    )
    found = start(text)
    assert ended(found).state == "succeeded"
    assert output(found) == "ready\nsaved\n"


def test_a_signal_that_is_due_at_once_waits_for_the_program(start: Start, ended: End) -> None:
    text = "run: sleep 600\nranks: 2\ntime: 86400s\nsignal: {name: USR1, before: 86399s}\nbackend: none\n"
    known = ended(start(text))
    assert known.exit is not None
    assert known.exit.kind == "killed by signal 10 (SIGUSR1)"
    assert all(rank.pid for rank in known.tasks[0].ranks)


def test_a_failed_program_is_tried_again_in_a_folder_of_its_own(
    start: Start, ended: End, tmp_path: Path
) -> None:
    text = (
        "run: bash -c 'echo attempt $JOBKIT_ATTEMPT; test $JOBKIT_ATTEMPT = 3'\n"
        "retries: {failed: 4}\nbackend: none\n"
    )
    found = start(text)
    known = ended(found)
    assert (known.state, known.attempt) == ("succeeded", 3)
    assert [output(found, attempt=k) for k in (1, 2, 3)] == [f"attempt {k}\n" for k in (1, 2, 3)]


def test_between_two_attempts_the_job_is_requeued(start: Start, ended: End) -> None:
    seen = []
    found = start("run: 'false'\nretries: {failed: 3}\nbackend: none\n")
    while state(found) not in record.ENDED:
        known = truth.look(found.folder)
        if known.state == "requeued":
            seen.append(known.reason)
    assert seen
    assert "failed: rank 0 on " in str(seen[0])


def test_retries_come_to_an_end(start: Start, ended: End) -> None:
    known = ended(start("run: 'false'\nretries: {failed: 1}\nbackend: none\n"))
    assert (known.state, known.attempt, known.exit and known.exit.status) == ("failed", 2, 1)
    assert str(known.reason).endswith("exit 1")


def test_what_cannot_start_is_not_tried_again(start: Start, ended: End) -> None:
    known = ended(start("run: /nowhere/program\nretries: {failed: 5}\nbackend: none\n"))
    assert (known.attempt, known.exit and known.exit.status) == (1, 127)


def test_every_point_of_a_sweep_runs_in_its_own_folder(start: Start, ended: End) -> None:
    found = start(
        "run: bash -c 'echo $JOBKIT_JOB $JOBKIT_RUN_DIR ${{ sweep.lr }}; exit ${{ sweep.code }}'\n"
        "backend: none\n"
        "sweep:\n- {lr: '1e-3', code: 0}\n- {lr: '0.1', code: 5}\n- {lr: '1', code: 6}\n"
    )
    known = ended(found)
    assert [task.state for task in known.tasks] == ["succeeded", "failed", "failed"]
    assert (known.state, known.exit and known.exit.status) == ("failed", 5)
    outputs = [output(found, point=str(i)) for i in range(3)]
    assert outputs == [
        f"{found.id}/{i} {found.folder}/{i} {lr}\n" for i, lr in enumerate(("1e-3", "0.1", "1"))
    ]


def test_as_many_points_run_at_once_as_the_spec_says(start: Start, ended: End, tmp_path: Path) -> None:
    # Each point waits until two are there; three at once would see the third.
    text = (
        f"run: bash -c 'touch {tmp_path}/${{{{ sweep.i }}}}; while [ $(ls {tmp_path} | grep -c ^p) -lt 2 ];"
        f" do sleep 0.02; done; sleep 0.2; ls {tmp_path} | grep -c ^p'\n"
        "backend: none\nsweep: {i: [p1, p2, p3]}\nparallel: 2\n"
    )
    found = start(text)
    known = ended(found)
    assert known.state == "succeeded"
    assert [output(found, point=str(i)) for i in range(3)] == ["2\n", "2\n", "3\n"]


def test_a_job_starts_after_another_has_succeeded(
    start: Start, ended: End, until: Until, tmp_path: Path
) -> None:
    first = start(
        f"run: bash -c 'while [ ! -e {tmp_path}/go ]; do sleep 0.02; done'\nbackend: none\n", "first"
    )
    second = start("run: 'true'\nbackend: none\nafter: [fir]\n", "second")
    assert state(second) == "queued"
    until(lambda: state(first) == "running")
    (tmp_path / "go").touch()
    known, before = ended(second), ended(first)
    assert known.state == "succeeded"
    assert str(known.started) >= str(before.ended)


def test_a_job_whose_predecessor_failed_is_cancelled_with_the_reason(start: Start, ended: End) -> None:
    start("run: 'false'\nbackend: none\n", "first")
    known = ended(start("run: 'true'\nbackend: none\nafter: [first]\n"))
    assert (known.state, known.exit and known.exit.status) == ("cancelled", 143)
    assert known.reason == "first, which it comes after, ended as failed"


def test_an_unknown_predecessor_is_refused(start: Start) -> None:
    with pytest.raises(SpecError, match="after: JOB: no such job, got 'nothing'"):
        start("run: 'true'\nafter: [nothing]\n")
    with pytest.raises(SpecError, match="after: JOB: no such job, got 'itself'"):
        start("run: 'true'\nafter: [itself]\n", "itself")


def test_a_cancelled_job_leaves_nothing_running(start: Start, ended: End, until: Until) -> None:
    found = start("run: bash -c 'setsid sleep 601 & sleep 602'\nranks: 2\nbackend: none\n")
    until(lambda: state(found) == "running")
    pids = ranks_of(found)
    assert len(alive(pids)) == 2
    cancel.request(found)
    known = ended(found)
    assert (known.state, known.exit and known.exit.status) == ("cancelled", 143)
    assert known.reason == "cancelled by its user"
    assert not alive(pids)
    until(lambda: not _processes_of(found.id), "the end of all of the job's processes")


def _processes_of(job: str) -> list[psutil.Process]:
    found = []
    for one in psutil.process_iter():
        try:
            if one.environ().get("JOBKIT_JOB") == job:
                found.append(one)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def test_a_job_that_waits_for_another_can_be_cancelled(start: Start, ended: End) -> None:
    start(SLEEP, "first")
    second = start("run: 'true'\nafter: [first]\n", "second")
    cancel.request(second)
    assert ended(second).state == "cancelled"
    assert ended(second).attempt == 0


def test_one_point_can_be_cancelled_alone(start: Start, ended: End, until: Until) -> None:
    found = start(
        "run: sleep ${{ sweep.s }}\nbackend: none\nsweep: {s: ['600', '600', '0']}\nparallel: 1\n", "points"
    )
    until(lambda: truth.look(found.folder).tasks[0].state == "running")
    for point in ("1", "0"):
        cancel.request(Found(found.id, found.folder, point))
    known = ended(found)
    assert [task.state for task in known.tasks] == ["cancelled", "cancelled", "succeeded"]


def test_a_keeper_that_is_told_to_end_cancels_its_job(start: Start, ended: End, until: Until) -> None:
    found = start(SLEEP)
    until(lambda: state(found) == "running")
    keeper = truth.look(found.folder).keeper
    assert keeper is not None
    process.send(keeper, signal.SIGTERM)
    assert ended(found).state == "cancelled"
    assert "SIGTERM" in str(ended(found).reason)


def test_a_keeper_survives_the_end_of_its_terminal(start: Start, until: Until, ended: End) -> None:
    found = start("run: sleep 1\nbackend: none\n")
    keeper = truth.look(found.folder).keeper
    assert keeper is not None
    assert os.getsid(keeper.pid) not in (os.getsid(0), 0)
    process.send(keeper, signal.SIGHUP)
    assert ended(found).state == "succeeded"


def test_a_killed_keeper_takes_its_ranks_with_it_and_the_job_is_lost(
    start: Start, ended: End, until: Until
) -> None:
    found = start("run: sleep 600\nranks: 2\nbackend: none\n")
    until(lambda: state(found) == "running")
    pids = ranks_of(found)
    keeper = truth.look(found.folder).keeper
    assert keeper is not None
    process.send(keeper, signal.SIGKILL)
    known = ended(found)
    assert (known.state, known.exit and known.exit.status) == ("lost", 125)
    assert known.reason == f"its keeper (process {keeper.pid} on {keeper.host}) was killed"
    assert not alive(pids)


def test_a_job_that_ended_after_its_keeper_was_killed_is_told_from_its_ranks(
    start: Start, ended: End, until: Until, tmp_path: Path
) -> None:
    # The keeper is stopped, so that the ranks' own records are the only ones of their end.
    found = start(
        f"run: bash -c 'while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; exit 7'\nbackend: none\n"
    )
    until(lambda: state(found) == "running")
    keeper = truth.look(found.folder).keeper
    assert keeper is not None
    process.send(keeper, signal.SIGSTOP)
    (tmp_path / "go").touch()
    until(folder.output(found.folder, 1, 0, "exit.json").exists)
    process.send(keeper, signal.SIGKILL)
    known = ended(found)
    assert (known.state, known.exit and known.exit.status) == ("failed", 7)
    assert "was killed" in str(known.reason)


def family_of(found: Found) -> tuple[int, int]:
    """Return the sentinel and the agent of a job with one task."""
    sentinel = truth.look(found.folder).tasks[0].agent
    assert sentinel is not None
    (agent,) = psutil.Process(sentinel.pid).children()
    return sentinel.pid, agent.pid


@pytest.mark.parametrize(
    "victims", [(0,), (1,), (0, 1), (1, 0)], ids=["sentinel", "agent", "both", "both, agent first"]
)
def test_a_killed_agent_is_told_and_leaves_no_rank(
    victims: tuple[int, ...], start: Start, ended: End, until: Until
) -> None:
    found = start("run: bash -c 'setsid sleep 603 & sleep 604'\nbackend: none\n")
    until(lambda: state(found) == "running")
    family, pids = family_of(found), ranks_of(found)
    for index in victims:
        os.kill(family[index], signal.SIGKILL)
    known = ended(found)
    assert known.exit is not None
    assert (known.state, known.exit.status, known.exit.kind) == ("lost", 125, "lost")
    assert known.reason
    assert not alive(pids)
    until(lambda: not _processes_of(found.id), "the end of all of the job's processes")


def test_when_keeper_and_agents_were_killed_cancel_ends_what_is_left(
    start: Start, ended: End, until: Until
) -> None:
    found = start("run: sleep 605\nbackend: none\n")
    until(lambda: state(found) == "running")
    keeper = truth.look(found.folder).keeper
    assert keeper is not None
    for one in (psutil.Process(keeper.pid), *map(psutil.Process, family_of(found))):
        one.suspend()
    pids = ranks_of(found)
    for pid in (keeper.pid, *family_of(found)):
        os.kill(pid, signal.SIGKILL)
    until(lambda: "were killed" in str(truth.look(found.folder).reason))
    assert state(found) == "running"
    assert len(alive(pids)) == 1
    cancel.request(found)
    assert ended(found).state == "lost"
    assert not alive(pids)


def test_a_full_disk_does_not_take_the_end_of_a_job(
    start: Start, ended: End, until: Until, tmp_path: Path
) -> None:
    if os.getuid() != 0:
        pytest.skip("mounting a small file system needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        found = start(f"run: bash -c 'yes; exit 9'\nrun_dir: {disk}\nbackend: none\n")
        known = ended(found)
        assert known.state == "failed"
        assert record.read(found.folder).state == "failed"
        assert known.exit is not None
        assert (known.exit.status, known.exit.kind) == (9, "exit 9")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_two_jobs_of_one_moment_have_their_own_folders(start: Start, ended: End) -> None:
    jobs = [start("run: echo hello\nbackend: none\n") for _ in range(4)]
    assert len({found.id for found in jobs}) == 4
    assert all(ended(found).state == "succeeded" for found in jobs)


def test_a_snapshot_is_run_whatever_happens_to_the_original(start: Start, ended: End, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "data").write_text("then\n")
    found = start(
        f"run: bash -c 'while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; cat data; pwd'\n"
        f"workdir: {work}\nsnapshot: true\nbackend: none\n"
    )
    (work / "data").write_text("now\n")
    (tmp_path / "go").touch()
    assert ended(found).state == "succeeded"
    assert output(found) == f"then\n{found.folder}/snapshot\n"


def test_a_keeper_that_cannot_take_over_says_why(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobkit.jobs.keeper", str(tmp_path)], capture_output=True, text=True, input=""
    )
    assert "plan.json" in done.stderr
