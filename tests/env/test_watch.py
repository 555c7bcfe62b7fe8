"""A program under a watcher: what it inherits, what reaches it, what is left of it and known of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobkit.env import processes, watch
from jobkit.env.placement import Placement
from jobkit.env.shim import Prepared
from jobkit.env.translate import Identity
from jobkit.jobs.folder import is_locked

JOB = f"test-watch-{os.getpid()}"

# Rank 1 of 2 of a foreign launcher, as the shim leaves it to the watcher.
WATCH = """
import os, sys
from jobkit.env.files import write_private
from jobkit.env.placement import Placement
from jobkit.env.presence import take
from jobkit.env.shim import Prepared
from jobkit.env.start import CommandError, find
from jobkit.env.translate import Identity
from jobkit.env.watch import watch
job, run_dir, *command = sys.argv[1:]
environ = {**os.environ, "JOBKIT_JOB": job, "JOBKIT_RANK": "1"}
environ |= {"JOBKIT_RUN_DIR": run_dir} if run_dir else {}
identity = Identity(job, 1, run_dir, "rank-1.gang")
place = take(identity, 1)
files = (f"{identity.folder}/alive", f"{identity.folder}/token") if place >= 0 else ()
if files:
    write_private(files[1], "secret")
prepared = Prepared(environ, Placement(1, 2, 1, 2, 0, 1, ()), identity, "openmpi", True, files, place)
try:
    sys.exit(watch(find(command, environ), tuple(command), prepared))
except CommandError as error:
    sys.exit(error.exit_status)
"""

# Says that it is up, and then the name of every signal as it comes.
LISTENER = """
import signal, sys
caught = {getattr(signal, "SIG" + name) for name in ("TERM", "USR1", "USR2", "HUP", "WINCH", "RTMIN")}
for number in caught:
    signal.signal(number, lambda number, _: print(signal.Signals(number).name, flush=True))
print("up", flush=True)
while input() != "end":
    pass
"""


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def command(run_dir: Path) -> Callable[..., list[str]]:
    """Return the command of a watcher of a program."""
    return lambda *words: [sys.executable, "-c", WATCH, JOB, str(run_dir), *words]


@pytest.fixture
def watched(command: Callable[..., list[str]]) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a program under a watcher, in a process group of its own as launchers do."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str, **how: Any) -> subprocess.Popen[bytes]:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process = subprocess.Popen(command(*words), **{**pipes, "start_new_session": True, **how})
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def record(run_dir: Path, rank: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run_dir / "attempt-1" / f"rank-{rank}.exit.json").read_text())
    return found


def children(pid: int) -> list[int]:
    """Return the program and the witness, in the order in which they were started."""
    return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def next_line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()


# --- the end


@pytest.mark.parametrize(
    ("script", "code", "known"),
    [
        ("exit 0", 0, {"status": 0, "signal": None, "reason": "exit"}),
        ("exit 7", 7, {"status": 7, "signal": None, "reason": "exit"}),
        ("kill -9 $$", -9, {"status": 137, "signal": "SIGKILL", "reason": "signal"}),
        ("kill -TERM $$", -15, {"status": 143, "signal": "SIGTERM", "reason": "signal"}),
        ("kill -SEGV $$", -11, {"status": 139, "signal": "SIGSEGV", "reason": "signal"}),
    ],
)
def test_the_launcher_and_the_record_see_the_programs_end(
    watched: Callable[..., subprocess.Popen[bytes]],
    run_dir: Path,
    script: str,
    code: int,
    known: dict[str, Any],
) -> None:
    assert watched("sh", "-c", script).wait() == code
    found = record(run_dir)
    assert {name: found[name] for name in known} == known
    assert (found["rank"], found["ended_by_jobkit"], found["schema"]) == (1, False, 1)
    assert found["started"] < found["ended"]


def test_a_program_that_cannot_be_executed_is_known_by_its_status(
    watched: Callable[..., subprocess.Popen[bytes]], run_dir: Path, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    assert watched(str(script)).wait() == 127
    assert (record(run_dir)["status"], record(run_dir)["reason"]) == (127, "not started")


@pytest.mark.parametrize(
    ("program", "number", "code", "ended_by_jobkit"),
    [
        ("sleep 600 & wait", signal.SIGTERM, -15, True),
        ("trap 'exit 4' TERM; sleep 600 & wait", signal.SIGTERM, 4, True),
        ("trap 'exit 4' HUP; sleep 600 & wait", signal.SIGHUP, 4, False),
        ("sleep 600 & wait", signal.SIGHUP, -1, True),
        ("trap 'exit 4' USR1; sleep 600 & wait", signal.SIGUSR1, 4, False),
    ],
)
def test_a_rank_that_its_launcher_ended_is_no_culprit(
    watched: Callable[..., subprocess.Popen[bytes]],
    run_dir: Path,
    program: str,
    number: int,
    code: int,
    ended_by_jobkit: bool,
) -> None:
    process = watched("sh", "-c", program.replace("sleep", "echo up; sleep"))
    assert next_line(process) == "up"
    os.killpg(process.pid, number)
    assert process.wait() == code
    assert record(run_dir)["ended_by_jobkit"] is ended_by_jobkit


def test_a_rank_that_blames_another_is_its_victim(
    watched: Callable[..., subprocess.Popen[bytes]], run_dir: Path
) -> None:
    blame = f"echo '{{\"victim_of\": 0}}' > {run_dir}/attempt-1/rank-1.victim.json; exit 1"
    assert watched("sh", "-c", blame).wait() == 1
    assert record(run_dir)["victim_of"] == 0


def test_a_record_that_cannot_be_written_is_one_line_and_no_failure(
    watched: Callable[..., subprocess.Popen[bytes]], run_dir: Path
) -> None:
    run_dir.write_text("a file, not a folder")
    process = watched("sh", "-c", "exit 3")
    _, said = process.communicate()
    assert process.returncode == 3
    assert said.decode().count("\n") == 1
    assert "the record of rank 1 was not written" in said.decode()


# --- what reaches the program


def test_every_descriptor_is_the_programs(watched: Callable[..., subprocess.Popen[bytes]]) -> None:
    reader, writer = os.pipe()
    process = watched("sh", "-c", f"echo through > /dev/fd/{writer}; exec cat", pass_fds=(writer,))
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert file.readline() == b"through\n"
    assert process.communicate(b"\0input")[0] == b"\0input"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGWINCH, 34])
def test_a_signal_arrives_once_whomever_the_launcher_signals(
    watched: Callable[..., subprocess.Popen[bytes]], wait: Callable[..., Any], number: int
) -> None:
    process = watched(sys.executable, "-u", "-c", LISTENER)
    assert next_line(process) == "up"
    assert wait(lambda: len(children(process.pid)) == 2)
    program, witness = children(process.pid)
    name = signal.Signals(number).name

    os.kill(process.pid, number)  # as torchrun's older versions, a user with `kill`
    assert next_line(process) == name
    os.killpg(process.pid, number)  # as Hydra, PRRTE, torchrun, a terminal
    assert next_line(process) == name
    for pid in (process.pid, program, witness):  # as slurmstepd
        os.kill(pid, number)
    assert next_line(process) == name
    os.kill(process.pid, signal.SIGUSR2)  # behind the others, so that one that came twice would be seen
    assert next_line(process) == "SIGUSR2"
    process.communicate(b"end\n")
    assert process.returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_signals_are_passed_on_without_a_witness_too(
    watched: Callable[..., subprocess.Popen[bytes]], wait: Callable[..., Any]
) -> None:
    process = watched(sys.executable, "-u", "-c", LISTENER)
    assert next_line(process) == "up"
    assert wait(lambda: len(children(process.pid)) == 2)
    os.kill(children(process.pid)[1], signal.SIGKILL)
    assert wait(lambda: len(children(process.pid)) == 1)
    os.kill(process.pid, signal.SIGTERM)
    assert next_line(process) == "SIGTERM"
    process.communicate(b"end\n")
    assert process.returncode == 0


def test_what_the_launcher_ignores_the_program_ignores(
    watched: Callable[..., subprocess.Popen[bytes]],
) -> None:
    ask = "import signal; print([signal.getsignal(n) is signal.SIG_IGN for n in (1, 2, 15)])"
    process = watched(
        sys.executable, "-c", ask, preexec_fn=lambda: [signal.signal(n, signal.SIG_IGN) for n in (1, 2)]
    )
    assert process.communicate()[0] == b"[True, True, False]\n"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_program_is_stopped_and_continued_through_its_watcher(
    watched: Callable[..., subprocess.Popen[bytes]], wait: Callable[..., Any]
) -> None:
    # In a session of its own the system would not stop it: no shell could continue it.
    script = "echo up; read line; echo $line"
    process = watched("sh", "-c", script, start_new_session=False, preexec_fn=os.setpgrp)
    assert next_line(process) == "up"
    program = children(process.pid)[0]

    def state() -> str:
        return Path(f"/proc/{program}/stat").read_text().rpartition(")")[2].split()[0]

    os.kill(process.pid, signal.SIGTSTP)
    assert wait(lambda: state() == "T")
    os.kill(process.pid, signal.SIGCONT)
    assert wait(lambda: state() != "T")
    assert process.communicate(b"on\n")[0] == b"on\n"


# --- what is left of it


def test_descendants_end_with_the_program(
    watched: Callable[..., subprocess.Popen[bytes]], family: Any, wait: Callable[..., Any]
) -> None:
    process = watched(*family.command)
    assert wait(lambda: len(family.pids()) == 5)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert family.alive() == []


def test_a_daemon_of_a_program_that_ends_at_once_ends_too(
    watched: Callable[..., subprocess.Popen[bytes]], alive: Callable[[int], bool]
) -> None:
    process = watched("sh", "-c", "setsid sleep 600 >&- 2>&- & echo $!")
    daemon = int(next_line(process))
    process.communicate()
    assert process.returncode == 0
    assert not alive(daemon)


def test_a_job_that_was_submitted_from_inside_lives_on(
    watched: Callable[..., subprocess.Popen[bytes]], alive: Callable[[int], bool]
) -> None:
    process = watched("sh", "-c", "JOBKIT_KEEPER=other setsid sleep 600 & echo $!")
    keeper = int(next_line(process))
    try:
        # It holds the outputs open; the watcher does not wait for their end.
        assert process.wait() == 0
        assert alive(keeper)
    finally:
        os.kill(keeper, signal.SIGKILL)


def test_a_program_does_not_outlive_a_killed_watcher(
    watched: Callable[..., subprocess.Popen[bytes]], family: Any, wait: Callable[..., Any]
) -> None:
    process = watched(*family.command)
    assert wait(lambda: len(family.pids()) == 5)
    assert wait(lambda: len(children(process.pid)) == 3)
    # The orphan of another session has nothing of the job in its environment either: nobody finds it.
    orphan = children(process.pid)[-1]
    process.kill()
    process.wait()
    assert wait(lambda: family.alive() == [orphan])


def test_a_killed_watcher_leaves_a_record_and_no_secret(
    watched: Callable[..., subprocess.Popen[bytes]], run_dir: Path, wait: Callable[..., Any]
) -> None:
    process = watched("sh", "-c", "trap '' TERM; echo up; while :; do sleep 600; done")
    assert next_line(process) == "up"
    assert wait(lambda: len(children(process.pid)) == 2)
    place = run_dir / "attempt-1" / "rank-1.gang"
    assert sorted(path.name for path in place.iterdir()) == ["alive", "token"]
    process.kill()
    process.wait()
    # The program withstands TERM for a while: until it is gone its witness holds the place.
    assert is_locked(place / "alive")
    assert wait(lambda: not place.exists())
    found = record(run_dir)
    assert (found["status"], found["signal"], found["reason"]) == (137, "SIGKILL", "signal")


# --- its output


def run_with_ring(
    command: Callable[..., list[str]], *words: str, **how: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run a program that may use MLX's ring: its standard error goes through the watcher."""
    environ = {**os.environ, "MLX_HOSTFILE": "/hosts.json"}
    return subprocess.run(command(*words), env=environ, check=False, **how)


def test_standard_error_arrives_byte_for_byte(command: Callable[..., list[str]]) -> None:
    program = "import os, random; random.seed(1); os.write(2, random.randbytes(1_000_000))"
    ran = run_with_ring(command, sys.executable, "-c", program, stderr=subprocess.PIPE)
    expected = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, check=True)
    assert ran.stderr == expected.stderr


def test_two_outputs_in_one_file_stay_in_order(command: Callable[..., list[str]], tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        run_with_ring(
            command,
            "sh",
            "-c",
            "for i in 1 2 3; do echo out $i; echo error $i >&2; done",
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    assert (tmp_path / "log").read_text().split() == [
        "out",
        "1",
        "error",
        "1",
        "out",
        "2",
        "error",
        "2",
        "out",
        "3",
        "error",
        "3",
    ]


def test_a_ring_that_could_not_connect_is_explained(command: Callable[..., list[str]], run_dir: Path) -> None:
    script = 'echo "RuntimeError: [ring] Couldn\'t connect (error: 111)" >&2; exit 1'
    ran = run_with_ring(command, "sh", "-c", script, stderr=subprocess.PIPE)
    first, second = ran.stderr.decode().splitlines()
    assert first == "RuntimeError: [ring] Couldn't connect (error: 111)"
    assert second == f"jobkit: {record(run_dir)['hint']}"
    assert "jobkit.native.barrier()" in second


def test_a_program_that_went_on_after_it_is_left_alone(
    command: Callable[..., list[str]], run_dir: Path
) -> None:
    ran = run_with_ring(command, "sh", "-c", 'echo "[ring] Couldn\'t connect" >&2', stderr=subprocess.PIPE)
    assert ran.stderr == b"[ring] Couldn't connect\n"
    assert record(run_dir)["hint"] == ""


def test_a_program_that_a_signal_to_all_ended_first_is_not_taken_to_have_ended_by_itself(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = Prepared(
        {}, Placement(0, 1, 0, 1, 0, 1, ()), Identity(JOB, 1, str(run_dir), ""), "a", True, ()
    )
    watcher = watch.Watcher(prepared)
    turns = []

    def turn(_self: watch.Watcher, most_s: float | None) -> None:
        """The witness speaks first, which ends this process's wait; the signal to it comes later."""
        turns.append(most_s)
        if len(turns) == 3:
            watcher._asked.add(signal.SIGTERM)

    monkeypatch.setattr(watch, "ECHO_S", 60.0)
    monkeypatch.setattr(processes, "become_subreaper", lambda: None)
    monkeypatch.setattr(watch.Watcher, "_reap", lambda self: setattr(self, "_status", int(signal.SIGTERM)))
    monkeypatch.setattr(watch.Watcher, "_turn", turn)
    watcher.run()
    watcher._report()
    assert len(turns) == 3
    assert record(run_dir, rank=0)["ended_by_jobkit"] is True
