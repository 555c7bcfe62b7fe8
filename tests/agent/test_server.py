"""What becomes of one host's ranks, with real processes."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobkit.agent.client import Agent
from jobkit.agent.events import Done, Exited, Output, Problem, Started
from jobkit.agent.request import Request

Make = Callable[..., Request]
Run = Callable[..., Any]


def python(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


def records(run_dir: Path) -> dict[int, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in run_dir.glob("attempt-1/rank-*.exit.json")]
    return {record["rank"]: record for record in found}


def test_ranks_that_succeed_give_status_0(make_request: Make, run_agent: Run, tmp_path: Path) -> None:
    ran = run_agent(make_request("/bin/echo", "hello", ranks=3))
    assert ran.done == Done(None, 0)
    assert [ran.output(rank) for rank in range(3)] == [b"hello\n"] * 3
    assert sorted(started.rank for started in ran.of(Started)) == [0, 1, 2]
    assert {rank: record["status"] for rank, record in records(tmp_path / "run").items()} == {
        0: 0,
        1: 0,
        2: 0,
    }


def test_the_first_failure_gives_the_status_and_ends_the_others(make_request: Make, run_agent: Run) -> None:
    ran = run_agent(make_request("sh", "-c", "[ $JOBKIT_RANK = 1 ] && exit 7; exec sleep 600", ranks=3))
    assert (ran.done.status, ran.done.first.rank) == (7, 1)
    assert [e.exit.ended_by_jobkit for e in ran.of(Exited)] == [False, True, True]


@pytest.mark.parametrize("output", ["pipe", "files"])
def test_a_failure_of_mlx_s_ring_is_explained(make_request: Make, run_agent: Run, output: str) -> None:
    script = 'echo "RuntimeError: [ring] Couldn\'t connect (error: 111)" >&2; exit 1'
    ran = run_agent(make_request("sh", "-c", script, output=output))
    assert "jobkit.native.barrier()" in ran.done.first.hint
    assert run_agent(make_request("false", output=output)).done.first.hint == ""


def test_a_signal_gives_128_and_its_number(make_request: Make, run_agent: Run) -> None:
    ran = run_agent(make_request("sh", "-c", "kill -SEGV $$", ranks=1))
    assert (ran.done.status, ran.done.first.signal, ran.done.first.reason) == (139, "SIGSEGV", "signal")


@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="no real-time signals here")
def test_a_real_time_signal_is_a_signal_as_any_other(make_request: Make, run_agent: Run) -> None:
    number = signal.SIGRTMIN + 6
    ran = run_agent(make_request("sh", "-c", f"kill -{number:d} $$", ranks=1))
    assert (ran.done.status, ran.done.first.signal) == (128 + number, "SIGRTMIN+6")


def test_the_first_in_time_counts_even_if_both_ended_unseen(
    make_request: Make, listen: Callable[..., Any], wait: Callable[..., Any], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    # Rank 0 ends soon after rank 1, whose end closes the pipe (a little before it counts as ended).
    program = """
    if [ $JOBKIT_RANK = 1 ]; then exec 5> fifo; read _; exit 7; fi
    exec 6< fifo; echo up; read _ <&6; sleep 0.05; : > ended; exit 9"""
    request = make_request("sh", "-c", program, ranks=2, stdin="1")
    with Agent.start(request) as agent:
        listen(agent, lambda events: any(isinstance(e, Output) for e in events))
        process = int(Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()[0])
        agent.end_stdin()
        os.kill(process, signal.SIGSTOP)
        seen = wait(lambda: (tmp_path / "ended").exists(), 1.0)
        os.kill(process, signal.SIGCONT)
        done = listen(agent)[-1]
    assert (done.first.rank, done.status) == (1, 7), f"ended while the agent slept: {seen}"


def test_ports_that_are_all_taken_are_125(make_request: Make, run_agent: Run) -> None:
    with socket.socket() as one:
        one.bind(("0.0.0.0", 0))
        port = one.getsockname()[1]
        ran = run_agent(make_request("true", ranks=2, ports=(port, port)))
    assert ran.done.status == 125
    assert f"network.ports: every port {port}-{port} of " in ran.of(Problem)[0].message


def test_a_rank_deaf_to_term_is_killed_after_the_grace(make_request: Make, run_agent: Run) -> None:
    program = "trap '' TERM; [ $JOBKIT_RANK = 1 ] && exit 3; while :; do sleep 0.05; done"
    ran = run_agent(make_request("sh", "-c", program, ranks=2, grace_s=0.2))
    assert ran.done.status == 3
    assert [e.exit.signal for e in ran.of(Exited) if e.exit.rank == 0] == ["SIGKILL"]


def test_a_victim_waits_for_the_culprit_that_it_names(make_request: Make, run_agent: Run) -> None:
    program = """
    if [ $JOBKIT_RANK = 1 ]; then echo '{"victim_of": 0}' > $JOBKIT_VICTIM_FILE; exit 1; fi
    sleep 0.3; exit 9"""
    ran = run_agent(make_request("sh", "-c", program, ranks=2))
    assert (ran.done.status, ran.done.first.rank) == (9, 0)
    assert [e.exit.victim_of for e in ran.of(Exited)] == [0, None]


def test_a_culprit_that_does_not_fail_leaves_the_status_to_its_victim(
    make_request: Make, run_agent: Run
) -> None:
    program = """
    if [ $JOBKIT_RANK = 1 ]; then echo '{"victim_of": 0}' > $JOBKIT_VICTIM_FILE; exit 5; fi
    sleep 600"""
    ran = run_agent(make_request("sh", "-c", program, ranks=2))
    assert (ran.done.status, ran.done.first.rank) == (5, 1)


def test_a_program_that_is_not_there_is_127_and_says_where_it_was_looked_for(
    make_request: Make, run_agent: Run
) -> None:
    ran = run_agent(make_request("no-such-program", ranks=2))
    (problem,) = ran.of(Problem)
    assert ran.done.status == problem.status == 127
    assert "no such program; looked in " in problem.message


def test_a_program_that_is_not_executable_is_126(make_request: Make, run_agent: Run, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print()")
    ran = run_agent(make_request("./train.py"))
    assert ran.done.status == 126
    assert "is not executable" in ran.of(Problem)[0].message
    assert ran.of(Exited)[0].exit.reason == "not started"


def test_a_program_of_a_wrong_format_is_126(make_request: Make, run_agent: Run, tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"\x7fELF broken")
    (tmp_path / "broken").chmod(0o755)
    assert run_agent(make_request("./broken")).done.status == 126


def test_a_missing_interpreter_is_127(make_request: Make, run_agent: Run, tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/no/such/interpreter\n")
    (tmp_path / "script").chmod(0o755)
    ran = run_agent(make_request("./script"))
    assert ran.done.status == 127
    assert "interpreter" in ran.of(Problem)[0].message


def test_a_workdir_that_is_not_there_is_125(make_request: Make, run_agent: Run) -> None:
    ran = run_agent(make_request("true", workdir="/no/such/folder"))
    assert ran.done.status == 125
    assert "workdir /no/such/folder" in ran.of(Problem)[0].message


def test_an_interpreter_that_is_not_there_is_125(make_request: Make, run_agent: Run) -> None:
    assert run_agent(make_request("true", python="/no/such/python")).done.status == 125


def test_an_interpreter_without_jobkit_is_125(make_request: Make, run_agent: Run, tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho No module named jobkit >&2\nexit 1\n")
    fake.chmod(0o755)
    ran = run_agent(make_request("true", python=str(fake)))
    assert ran.done.status == 125
    assert "before the program was started" in ran.of(Problem)[0].message
    assert ran.output(stream=2) == b"No module named jobkit\n"


def test_a_backend_that_cannot_run_here_is_125(make_request: Make, run_agent: Run) -> None:
    ran = run_agent(make_request("true", ranks=2, backend=("jaccl",)))
    assert ran.done.status == 125
    assert "backend jaccl" in ran.of(Problem)[0].message


def test_setup_leaves_its_environment_to_the_ranks_and_the_overlay_lies_over_it(
    make_request: Make, run_agent: Run, tmp_path: Path
) -> None:
    lines = ("export A=from-setup B=from-setup", f"echo once >> {tmp_path}/times", "cd /")
    request = make_request("sh", "-c", "echo $A $B $PWD", ranks=2, setup=lines, overlay={"B": "over it"})
    ran = run_agent(request)
    assert ran.output(1) == f"from-setup over it {tmp_path}\n".encode()
    assert (tmp_path / "times").read_text() == "once\n"


def test_a_setup_line_that_fails_is_125_and_named(make_request: Make, run_agent: Run) -> None:
    ran = run_agent(make_request("true", setup=("A=1", "echo oh no >&2; false", "B=2")))
    assert ran.done.status == 125
    message = ran.of(Problem)[0].message
    assert f"setup: line 2 failed with status 1 on {os.uname().nodename}: echo oh no" in message
    assert message.endswith("oh no")


def test_a_setup_that_hangs_ends_with_the_lease(
    make_request: Make, wait: Callable[..., Any], alive: Callable[[int], bool], tmp_path: Path
) -> None:
    with Agent.start(make_request("true", setup=(f"echo $$ > {tmp_path}/pid; sleep 600",))):
        assert wait(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    assert not alive(int((tmp_path / "pid").read_text()))


def test_a_setup_may_leave_a_process_behind_until_the_end(
    make_request: Make, run_agent: Run, alive: Callable[[int], bool]
) -> None:
    ran = run_agent(make_request("sh", "-c", "echo $LEFT", setup=("sleep 600 & export LEFT=$!",)))
    assert ran.done.status == 0
    assert not alive(int(ran.output()))


def test_a_setup_that_is_cancelled_has_not_failed(make_request: Make, listen: Callable[..., Any]) -> None:
    with Agent.start(make_request("true", setup=("sleep 600",))) as agent:
        agent.terminate()
        events = listen(agent)
    assert events == [Done(None, 143)]


def test_children_that_outlive_the_ranks_are_ended(make_request: Make, run_agent: Run, family: Any) -> None:
    there = f"[ $(ls {family.folder} | wc -l) = 5 ]"
    program = f"{' '.join(family.command)} & until {there}; do sleep 0.05; done"
    ran = run_agent(make_request("sh", "-c", program, grace_s=0.5))
    assert ran.done.status == 0
    assert len(family.pids()) == 5
    assert not family.alive()


def test_a_rank_inherits_its_streams_and_ports_and_nothing_else(make_request: Make, run_agent: Run) -> None:
    program = """
import os
for fd in sorted(map(int, os.listdir("/proc/self/fd"))):
    try: print(fd, os.readlink(f"/proc/self/fd/{fd}").split(":")[0])
    except FileNotFoundError: pass
"""
    lines = run_agent(make_request(*python(program), ranks=2)).output(1).decode().split("\n")
    # One port of the ring and one of the layer; rank 0 would hold torch's too.
    assert [line.split()[1] for line in lines if line] == ["/dev/null", "pipe", "pipe", "socket", "socket"]


def test_no_signal_is_ignored_or_blocked_in_a_rank(make_request: Make, run_agent: Run) -> None:
    handler = signal.signal(signal.SIGTTIN, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR2,))
    try:
        ran = run_agent(make_request("grep", "-E", "Sig(Ign|Blk)", "/proc/self/status"))
    finally:
        signal.signal(signal.SIGTTIN, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    # Signals 32 and 33 are the C library's own: where one was left ignored, nobody can change that.
    its_own = 0b11 << 31
    assert [int(line.split()[1], 16) & ~its_own for line in ran.output().splitlines()] == [0, 0]


def test_what_the_agent_hands_down_is_gone_in_the_program(make_request: Make, run_agent: Run) -> None:
    environ = dict(
        line.split("=", 1) for line in run_agent(make_request("env", ranks=2)).output(0).decode().splitlines()
    )
    assert "JOBKIT_AGENT_FD" not in environ
    assert environ["JOBKIT_BACKEND"] == "ring"
    assert environ["PYTHONUNBUFFERED"] == "1"
    assert environ["PATH"].startswith(str(Path(sys.executable).parent))
    assert (environ["MLX_RANK"], environ["MLX_WORLD_SIZE"]) == ("0", "2")


def test_a_terminal_is_told_to_the_ranks(make_request: Make, run_agent: Run) -> None:
    ran = run_agent(
        make_request("sh", "-c", "echo $COLUMNS $LINES $FORCE_COLOR", terminal=(100, 30), environ={})
    )
    assert ran.output() == b"100 30 1\n"


def test_output_may_go_to_private_files(make_request: Make, run_agent: Run, tmp_path: Path) -> None:
    run_agent(make_request("sh", "-c", "echo out; echo err >&2", ranks=2, output="files"))
    folder = tmp_path / "run" / "attempt-1"
    written = [(folder / f"rank-{rank}.{name}").read_text() for rank in (0, 1) for name in ("out", "err")]
    assert written == ["out\n", "err\n"] * 2
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not (folder / "gang").exists()


def test_a_hundred_megabytes_without_a_newline_pass_in_bounded_memory(make_request: Make) -> None:
    program = "import sys\nfor _ in range(100): sys.stdout.buffer.write(b'x' * 1000000)"
    total, peak = 0, 0
    with Agent.start(make_request(*python(program))) as agent:
        while True:
            events = agent.receive()
            total += sum(len(e.data) for e in events if isinstance(e, Output))
            if any(isinstance(e, Done) for e in events):
                break
            peak = max(peak, resident_kib(agent.pid))
    assert total == 100_000_000
    assert peak < 100_000


def resident_kib(sentinel: int) -> int:
    """Return the agent's resident memory, 0 when it has ended."""
    try:
        agent = Path(f"/proc/{sentinel}/task/{sentinel}/children").read_text().split()[0]
        lines = Path(f"/proc/{agent}/status").read_text().splitlines()
    except (OSError, IndexError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


def test_a_launcher_that_does_not_read_loses_nothing(make_request: Make, listen: Callable[..., Any]) -> None:
    program = "import sys; sys.stdout.buffer.write(b'y' * 20000000)"
    with Agent.start(make_request(*python(program))) as agent:
        time.sleep(1)
        events = listen(agent)
    assert sum(len(e.data) for e in events if isinstance(e, Output)) == 20_000_000


def test_bytes_that_are_no_text_pass_unchanged(make_request: Make, run_agent: Run) -> None:
    ran = run_agent(make_request("printf", r"\377\376\0end"))
    assert ran.output() == b"\xff\xfe\0end"


def test_standard_input_reaches_every_rank_with_its_end(make_request: Make, run_agent: Run) -> None:
    ran = run_agent(make_request("cat", ranks=3, stdin="all"), stdin=b"typed\n" * 1000)
    assert [ran.output(rank) for rank in range(3)] == [b"typed\n" * 1000] * 3


def test_standard_input_may_be_one_ranks(make_request: Make, run_agent: Run) -> None:
    ran = run_agent(make_request("cat", ranks=2, stdin="1"), stdin=b"typed\n")
    assert [ran.output(0), ran.output(1)] == [b"", b"typed\n"]


def test_a_rank_that_does_not_read_holds_up_only_the_sender(
    make_request: Make, listen: Callable[..., Any]
) -> None:
    program = "[ $JOBKIT_RANK = 0 ] && exec sleep 600; head -c 500000 | wc -c; exec sleep 600"
    with Agent.start(make_request("sh", "-c", program, ranks=2, stdin="all")) as agent:
        room = agent.stdin_room
        agent.send_stdin(b"x" * room)
        events = listen(agent, lambda events: any(isinstance(e, Output) for e in events))
        assert [e.data.strip() for e in events if isinstance(e, Output)] == [b"500000"]
        assert agent.stdin_room < room


def test_a_rank_that_has_ended_holds_up_nobody(make_request: Make, listen: Callable[..., Any]) -> None:
    program = "[ $JOBKIT_RANK = 0 ] && exit; exec wc -c"
    with Agent.start(make_request("sh", "-c", program, ranks=2, stdin="all")) as agent:
        listen(agent, lambda events: any(isinstance(e, Exited) for e in events))
        sent = 0
        while sent < 5_000_000:
            listen(agent, lambda _: agent.stdin_room)
            sent += agent.stdin_room
            agent.send_stdin(b"x" * agent.stdin_room)
        agent.end_stdin()
        events = listen(agent)
    assert isinstance(events[-1], Done)
    assert [e.data.strip() for e in events if isinstance(e, Output)] == [str(sent).encode()]


def test_a_signal_reaches_the_program(make_request: Make, listen: Callable[..., Any]) -> None:
    program = """
import signal, sys
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(4))
print("ready")
signal.pause()
"""
    with Agent.start(make_request(*python(program))) as agent:
        listen(agent, lambda events: any(isinstance(e, Output) for e in events))
        agent.signal("USR1")
        assert listen(agent)[-1].status == 4


def test_termination_is_143(make_request: Make, listen: Callable[..., Any]) -> None:
    with Agent.start(make_request("sleep", "600", ranks=2)) as agent:
        listen(agent, lambda events: sum(isinstance(e, Started) for e in events) == 2)
        agent.terminate()
        assert listen(agent)[-1] == Done(None, 143)


def test_a_run_folder_that_vanishes_is_reported_and_the_job_ends(
    make_request: Make, listen: Callable[..., Any], tmp_path: Path
) -> None:
    with Agent.start(make_request("sh", "-c", "echo up; sleep 0.3; exit 6")) as agent:
        listen(agent, lambda events: any(isinstance(e, Output) for e in events))
        shutil.rmtree(tmp_path / "run")
        events = listen(agent)
    assert events[-1].status == 6
    assert any(isinstance(e, Problem) and "was not written" in e.message and not e.status for e in events)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system")
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    mounted = subprocess.run(mount, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"mount: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_fills_up_is_reported_and_the_job_ends(
    make_request: Make, run_agent: Run, small_disk: Path
) -> None:
    fill = f"head -c 1000000 /dev/zero > {small_disk}/fill; exit 6"
    ran = run_agent(make_request("sh", "-c", fill, run_dir=str(small_disk / "run")))
    assert ran.done.status == 6
    assert any("No space left" in problem.message for problem in ran.of(Problem))


def test_a_full_disk_is_125_before_the_start(make_request: Make, run_agent: Run, small_disk: Path) -> None:
    with (small_disk / "fill").open("wb", buffering=0) as file, pytest.raises(OSError, match="space"):
        while True:
            file.write(bytes(4096))
    ran = run_agent(make_request("true", ranks=2, run_dir=str(small_disk / "run")))
    assert ran.done.status == 125


def test_ranks_that_do_not_report_in_time_are_named(
    make_request: Make, run_agent: Run, tmp_path: Path
) -> None:
    slow = tmp_path / "python"
    slow.write_text(f'#!/bin/sh\n[ $JOBKIT_RANK = 1 ] && sleep 600\nexec {sys.executable} "$@"\n')
    slow.chmod(0o755)
    ran = run_agent(make_request("true", ranks=2, python=str(slow), overlay={"JOBKIT_GANG_TIMEOUT_S": "1"}))
    assert ran.done.status == 125
    assert "gang: rank 1 on " in ran.of(Problem)[0].message


def test_no_gang_is_formed_without_a_backend(make_request: Make, run_agent: Run) -> None:
    ran = run_agent(make_request("env", ranks=2, backend=("none",)))
    names = {line.split("=")[0] for line in ran.output().decode().splitlines()}
    assert {"JOBKIT_RANK", "JOBKIT_SIZE"} <= names
    assert not names & {"MLX_RANK", "MLX_HOSTFILE", "MASTER_PORT", "JOBKIT_GANG_FILE"}


def test_a_small_fork_bomb_is_ended(make_request: Make, listen: Callable[..., Any], tmp_path: Path) -> None:
    # It grows beyond what is looked for while it is ended, and stops by itself at 1 024: no limit binds root.
    grow = "[ $1 = 0 ] && exec sleep 600; n $(($1 - 1)) & n $(($1 - 1))"
    bomb = f"n() {{ echo $1 >> pids; sleep 0.02; {grow}; }}; n 10"
    mark = f"JOBKIT_JOB=bomb-{os.getpid()}".encode()
    with Agent.start(make_request("bash", "-c", bomb, job=mark.decode()[11:], grace_s=0.2)) as agent:
        pids = tmp_path / "pids"
        listen(agent, lambda _: pids.exists() and len(pids.read_text().split()) > 60)
        agent.terminate()
        assert listen(agent)[-1].status == 143
    left = [path for path in Path("/proc").glob("[0-9]*/environ") if mark in read(path).split(b"\0")]
    assert not left


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_mlx_ring_meets_through_the_reserved_ports(make_request: Make, run_agent: Run) -> None:
    pytest.importorskip("mlx.core")
    program = """
import mlx.core as mx
world = mx.distributed.init(strict=True)
print(world.rank(), world.size(), mx.distributed.all_sum(mx.ones(3)).tolist())
"""
    ran = run_agent(make_request(*python(program), ranks=3))
    assert ran.done.status == 0, ran.output(stream=2)
    assert [ran.output(r) for r in range(3)] == [f"{r} 3 [3.0, 3.0, 3.0]\n".encode() for r in range(3)]


def test_term_to_the_sentinel_ends_the_job(make_request: Make, listen: Callable[..., Any]) -> None:
    with Agent.start(make_request("sleep", "600")) as agent:
        listen(agent, lambda events: any(isinstance(e, Started) for e in events))
        os.kill(agent.pid, signal.SIGTERM)
        assert listen(agent)[-1].status == 143


def test_a_launcher_that_falls_silent_counts_as_gone(
    make_request: Make, alive: Callable[[int], bool], wait: Callable[..., Any]
) -> None:
    request = make_request("sh", "-c", "echo $$; exec sleep 600", backend=("none",), silence_s=1.0)
    with Agent.start(request) as agent:
        found = asked_on(agent, Output)
        pid = int(b"".join(event.data for event in found if isinstance(event, Output)))
        assert wait(lambda: not alive(pid))


def test_a_launcher_that_speaks_or_is_stopped_with_its_ranks_is_not_gone(make_request: Make) -> None:
    silence_s = 2.0  # a busy machine asks late
    request = make_request("sh", "-c", "echo up; sleep 0.1", backend=("none",), silence_s=silence_s)
    with Agent.start(request) as agent:
        asked_on(agent, Started)
        agent.signal("STOP")
        agent.ping()  # it was under way
        time.sleep(2 * silence_s)  # longer than a launcher may be silent
        agent.signal("CONT")
        assert asked_on(agent, Done)[-1] == Done(None, 0)


def asked_on(agent: Agent, until: type) -> list[Any]:
    """Return the events, up to one of a kind, of an agent that is asked all the time whether it is there."""
    found: list[Any] = []
    deadline = time.monotonic() + 60.0
    while not any(isinstance(event, until) for event in found):
        assert time.monotonic() < deadline, found
        agent.ping()
        select.select([agent], [], [], 0.05)
        found += agent.receive()
    return found
