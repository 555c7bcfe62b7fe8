"""`jobkit launch` as its users meet it: in pipes, on a terminal, interrupted, two at a time."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

LAUNCH = (sys.executable, "-m", "jobkit", "launch")
DEADLINE_S = 60.0
RING = """
import os, sys
import mlx.core as mx
world = mx.distributed.init(strict=True)
mine = int(sys.argv[1]) * 10 ** world.rank()
sys.stdout.write(f"{int(mx.distributed.all_sum(mx.array(mine)).item())}\\n")
"""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBKIT_HOME", str(tmp_path / "jobkit-home"))


def launch(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*LAUNCH, *words], input=stdin, capture_output=True, timeout=DEADLINE_S)


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["-n", "2", "--", "true"], 0, b""),
        (["-n", "3", "sh", "-c", "exit $((JOBKIT_RANK == 1 ? 7 : 0))"], 7, b"rank 1 of 3 on "),
        (["sh", "-c", "kill -KILL $$"], 137, b"was killed by SIGKILL"),
        (["-n", "2", "no-such-program"], 127, b"no such program; looked in "),
        (["-n", "2", "/etc/passwd"], 126, b"is not executable"),
        (["--cwd", "/no/such", "true"], 125, b"workdir /no/such: cannot be entered"),
        (["-n", "2", "--backend", "jaccl", "true"], 125, b"backend jaccl"),
        (["--hosts", "no-such-host.invalid", "true"], 125, b"no-such-host.invalid: no such host"),
        (["-n", "two", "true"], 2, b"invalid int value"),
        ([], 2, b"no command to run"),
        (["--nonsense", "true"], 2, b"--nonsense"),
    ],
)
def test_its_exit_status_and_its_one_message(words: list[str], status: int, message: bytes) -> None:
    ran = launch(*words)
    assert ran.returncode == status, ran.stderr
    assert message in ran.stderr
    assert ran.stderr.count(b"error:") == bool(status)


def test_print_python_prints_and_stops() -> None:
    assert launch("--print-python").stdout == f"{sys.executable}\n".encode()
    assert launch("--print-python", "--python", "/p").stdout == b"/p\n"


def test_in_a_pipe_lines_are_the_programs_own() -> None:
    ran = launch("-n", "2", "sh", "-c", "echo out $JOBKIT_RANK; echo err >&2")
    assert sorted(ran.stdout.splitlines()) == [b"out 0", b"out 1"]
    assert ran.stderr == b"err\nerr\n"


def test_with_label_each_line_begins_with_its_rank() -> None:
    ran = launch("-n", "2", "--label", "sh", "-c", "echo a; echo b")
    assert sorted(ran.stdout.splitlines()) == [b"[0] a", b"[0] b", b"[1] a", b"[1] b"]


def test_lines_of_ranks_never_mix() -> None:
    program = "import os; r = os.environ['JOBKIT_RANK']\nfor _ in range(2000): print(r * 50)"
    ran = launch("-n", "3", "--", sys.executable, "-u", "-c", program)
    lines = ran.stdout.splitlines()
    assert len(lines) == 6000
    assert set(lines) == {b"0" * 50, b"1" * 50, b"2" * 50}


def test_a_table_tells_how_each_rank_ended() -> None:
    ran = launch("-n", "2", "--table", "true")
    assert re.match(rb"rank +host +status +signal +seconds\n0 +\S+ +0 +[\d.]+\n1 ", ran.stderr)


def test_bytes_that_are_no_text_pass_unchanged() -> None:
    assert launch("printf", r"\377\376").stdout == b"\xff\xfe"


def test_a_hundred_megabytes_without_a_newline_pass() -> None:
    program = "import sys\nfor _ in range(100): sys.stdout.buffer.write(b'x' * 1000000)"
    with subprocess.Popen([*LAUNCH, sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        total, peak = 0, 0
        while piece := process.stdout.read(1 << 20):
            total += len(piece)
            peak = max(peak, resident_kib(process.pid))
    assert (total, process.returncode) == (100_000_000, 0)
    assert peak < 100_000


def resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


def test_standard_input_is_everybodys_and_ends() -> None:
    ran = launch("-n", "2", "--label", "cat", stdin=b"one\ntwo\n")
    assert sorted(ran.stdout.splitlines()) == [b"[0] one", b"[0] two", b"[1] one", b"[1] two"]


def test_standard_input_may_be_one_ranks_or_nobodys() -> None:
    assert launch("-n", "2", "--label", "--stdin", "1", "cat", stdin=b"x\n").stdout == b"[1] x\n"
    assert launch("-n", "2", "--stdin", "none", "cat", stdin=b"x\n").stdout == b""


def test_more_input_than_any_buffer_holds_reaches_every_rank() -> None:
    ran = launch("-n", "2", "wc", "-c", stdin=b"x" * 5_000_000)
    assert ran.stdout.split() == [b"5000000", b"5000000"]


def test_a_closed_standard_input_is_no_input() -> None:
    ran = subprocess.run([*LAUNCH, "cat"], stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE_S)
    assert (ran.returncode, ran.stdout) == (0, b"")


def test_closed_streams_do_no_harm() -> None:
    command = f"{' '.join(LAUNCH)} -n 2 -- cat <&- 2>&-"
    assert subprocess.run(["sh", "-c", command], capture_output=True, timeout=DEADLINE_S).returncode == 0


def test_a_reader_that_goes_ends_the_job() -> None:
    with subprocess.Popen([*LAUNCH, "yes"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(DEADLINE_S) == 141


@pytest.fixture
def sleeping() -> Iterator[subprocess.Popen[bytes]]:
    """A launch of two ranks that have said their process ids and sleep."""
    command = [*LAUNCH, "-n", "2", "sh", "-c", "echo $$; exec sleep 600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        yield process
        process.kill()


def ranks_of(process: subprocess.Popen[bytes]) -> list[int]:
    assert process.stdout is not None
    return [int(process.stdout.readline()) for _ in range(2)]


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def wait(condition: Callable[[], object], deadline_s: float = DEADLINE_S) -> bool:
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_the_ranks_and_gives_the_status(
    sleeping: subprocess.Popen[bytes], number: int, status: int
) -> None:
    ranks = ranks_of(sleeping)
    sleeping.send_signal(number)
    assert sleeping.wait(DEADLINE_S) == status
    assert not any(map(is_alive, ranks))


def test_a_second_interrupt_kills_at_once() -> None:
    deaf = (
        "import signal as s, time; s.signal(2, s.SIG_IGN); s.signal(15, s.SIG_IGN); print(1); time.sleep(600)"
    )
    command = [*LAUNCH, sys.executable, "-c", deaf]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert b"again kills" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 130


def test_a_killed_launcher_leaves_nobody(sleeping: subprocess.Popen[bytes]) -> None:
    ranks = ranks_of(sleeping)
    sleeping.kill()
    assert wait(lambda: not any(map(is_alive, ranks)))


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_suspended_launcher_suspends_its_ranks(sleeping: subprocess.Popen[bytes]) -> None:
    ranks = ranks_of(sleeping)
    sleeping.send_signal(signal.SIGTSTP)
    assert wait(lambda: all(state(pid) == "T" for pid in [*ranks, sleeping.pid]))
    sleeping.send_signal(signal.SIGCONT)
    assert wait(lambda: all(state(pid) == "S" for pid in ranks))
    sleeping.terminate()
    assert sleeping.wait(DEADLINE_S) == 143


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_a_users_signal_is_the_programs_and_ends_nobody_else(number: int) -> None:
    program = "import signal; signal.signal(%d, lambda *_: exit(9)); print(1, flush=True); signal.pause()"
    command = [*LAUNCH, "-n", "2", "--", sys.executable, "-c", program % number]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        ranks_of(process)
        (sentinel,) = children(process.pid)
        # A scheduler may mean every process of a step.
        for pid in (*children(sentinel), sentinel, process.pid):
            os.kill(pid, number)
        assert process.wait(DEADLINE_S) == 9
        assert process.stderr is not None
        assert b"exited with status 9" in process.stderr.read()


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_the_run_folder_is_private_and_gone_at_the_end(tmp_path: Path) -> None:
    ran = launch("sh", "-c", "stat -c %a $JOBKIT_RUN_DIR")
    assert ran.stdout == b"700\n"
    assert list((tmp_path / "jobkit-home").iterdir()) == []


class Terminal:
    """A launch on a terminal of its own."""

    def __init__(self, *words: str, environ: dict[str, str] | None = None) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, [*LAUNCH, *words], {**os.environ, **(environ or {})})
        self.shown = b""
        self.status: int | None = None

    def expect(self, text: bytes) -> bytes:
        """Read until a text appears; return everything shown so far."""
        deadline = time.monotonic() + DEADLINE_S
        while text not in self.shown and time.monotonic() < deadline:
            if not select.select([self.fd], [], [], 0.1)[0]:
                continue
            try:
                self.shown += os.read(self.fd, 65536)
            except OSError:
                break
        assert text in self.shown, self.shown
        return self.shown

    def type(self, text: bytes) -> None:
        os.write(self.fd, text)

    def end(self) -> int:
        """Wait for the launch; return its exit status."""
        deadline = time.monotonic() + DEADLINE_S
        with contextlib.suppress(OSError):
            while time.monotonic() < deadline:
                if select.select([self.fd], [], [], 0.1)[0]:
                    self.shown += os.read(self.fd, 65536) or b""
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    def close(self) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_(*words: str, **how: dict[str, str]) -> Terminal:
        opened.append(Terminal(*words, **how))
        return opened[-1]

    yield open_
    for launched in opened:
        launched.close()


def test_a_prompt_is_seen_and_answered(terminal: Callable[..., Terminal]) -> None:
    screen = terminal("--", sys.executable, "-c", "print('hello', input('name? '))")
    screen.expect(b"name? ")
    screen.type(b"world\n")
    screen.expect(b"hello world")
    assert screen.end() == 0


def test_pdb_works_in_every_rank(terminal: Callable[..., Terminal]) -> None:
    program = "import os\nx = 40 + int(os.environ['JOBKIT_RANK'])\nbreakpoint()\nprint('end')"
    screen = terminal("-n", "2", "--", sys.executable, "-c", program)
    assert wait(lambda: screen.expect(b"(Pdb) ").count(b"(Pdb) ") == 2 or screen_more(screen))
    screen.type(b"p x + 2\n")
    screen.expect(b"42")
    screen.expect(b"43")
    screen.type(b"c\n")
    assert screen.end() == 0
    assert screen.shown.count(b"end") >= 2


def screen_more(screen: Terminal) -> bool:
    if select.select([screen.fd], [], [], 0.05)[0]:
        screen.shown += os.read(screen.fd, 65536)
    return False


def test_on_a_terminal_each_line_begins_with_its_coloured_rank(terminal: Callable[..., Terminal]) -> None:
    screen = terminal("-n", "2", "--", "sh", "-c", "echo hi $FORCE_COLOR", environ={"NO_COLOR": ""})
    assert screen.end() == 0
    assert b"\x1b[31m[0]\x1b[0m hi 1\r\n" in screen.shown
    assert b"\x1b[32m[1]\x1b[0m hi 1\r\n" in screen.shown


def test_without_colour_the_rank_is_plain(terminal: Callable[..., Terminal]) -> None:
    screen = terminal("-n", "2", "--", "echo", "hi", environ={"NO_COLOR": "1"})
    assert screen.end() == 0
    assert b"[0] hi\r\n" in screen.shown
    assert b"\x1b" not in screen.shown


def test_a_progress_bar_is_drawn_as_it_grows(terminal: Callable[..., Terminal]) -> None:
    program = """
import sys, time
for step in range(3):
    sys.stderr.write(f"\\r{step}/3")
    sys.stderr.flush()
    time.sleep(0.2)
input()
"""
    screen = terminal("--", sys.executable, "-c", program)
    screen.expect(b"\r2/3")
    screen.type(b"\n")
    assert screen.end() == 0
    assert [screen.shown.index(b"\r%d/3" % step) for step in range(3)] == sorted(
        screen.shown.index(b"\r%d/3" % step) for step in range(3)
    )


def test_control_c_on_a_terminal_is_130(terminal: Callable[..., Terminal]) -> None:
    screen = terminal("-n", "2", "--", "sh", "-c", "echo up; exec sleep 600")
    screen.expect(b"up")
    screen.type(b"\x03")
    assert screen.end() == 130
    assert b"again kills" in screen.shown


def test_mlx_programs_of_one_and_several_ranks_run() -> None:
    pytest.importorskip("mlx.core")
    assert launch("-n", "3", sys.executable, "-c", RING, "2").stdout == b"222\n" * 3
    alone = "import mlx.core as mx; print(mx.distributed.init().size())"
    assert launch("-n", "1", sys.executable, "-c", alone).stdout == b"1\n"


def pairs(times: int) -> None:
    for _ in range(times):
        both = [
            subprocess.Popen([*LAUNCH, "-n", "2", sys.executable, "-c", RING, seed], stdout=subprocess.PIPE)
            for seed in ("1", "3")
        ]
        outputs = [process.communicate(timeout=DEADLINE_S)[0] for process in both]
        assert outputs == [b"11\n" * 2, b"33\n" * 2]
        assert [process.returncode for process in both] == [0, 0]


def test_two_jobs_at_once_never_cross() -> None:
    pytest.importorskip("mlx.core")
    pairs(3)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fifty_pairs_of_jobs_at_once_never_cross() -> None:
    pytest.importorskip("mlx.core")
    pairs(50)
