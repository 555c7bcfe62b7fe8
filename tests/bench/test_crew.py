from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobkit.bench.contenders import Contender
from jobkit.bench.crew import Crew, CrewError, NotServed
from jobkit.bench.places import HERE

RUN = {
    "do": "run",
    "op": "all_sum",
    "count": 16,
    "dtype": "float32",
    "form": "out",
    "iterations": 3,
    "warmup": 1,
}
Fake = Callable[[str, str], Contender]
Start = Callable[..., Crew]


def is_gone(pid: int) -> bool:
    """Tell whether a process ends within seconds."""
    for _ in range(500):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def test_our_ranks_answer_in_rank_order_and_are_right(crew: Start) -> None:
    replies = crew(size=3).ask(RUN, 60)

    assert [reply["wrong"] for reply in replies] == [0, 0, 0]
    assert all(0 < reply["p50"] <= reply["p99"] for reply in replies)


def test_ranks_that_come_in_another_order_are_put_right(crew: Start, fake: Fake) -> None:
    backwards = """
    RANK = SIZE - 1 - RANK
    def call(self, op, x, form):
        return Call(lambda: x + RANK)
    Fake.call = call
    """
    replies = crew(fake("backwards", backwards), 3).ask({**RUN, "op": "broadcast"}, 60)

    # Only what rank 0 returns is as expected.
    assert [reply["wrong"] == 0 for reply in replies] == [True, False, False]


def test_nothing_is_left_at_the_end(crew: Start, fake: Fake) -> None:
    one = crew(fake("quiet", ""))
    pids = [rank.pid for rank in one._ranks]
    folder = one._folder

    one.end()

    assert pids and all(map(is_gone, pids))
    assert not folder.exists()


def test_a_rank_that_crashes_fails_its_contender_with_its_last_words(crew: Start, fake: Fake) -> None:
    crashing = """
    def call(self, op, x, form):
        print("about to fall", flush=True)
        if RANK == 1:
            os.kill(os.getpid(), signal.SIGSEGV)
        return Call(lambda: time.sleep(600))
    Fake.call = call
    """
    one = crew(fake("crashing", crashing))
    pids = [rank.pid for rank in one._ranks]

    with pytest.raises(CrewError, match=r"(?s)rank 1 ended \(status -11\).*about to fall"):
        one.ask(RUN, 60)
    assert one.failure
    assert all(map(is_gone, pids))


def test_a_rank_that_hangs_is_ended_at_the_deadline(crew: Start, fake: Fake) -> None:
    hanging = """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    def call(self, op, x, form):
        return Call(lambda: time.sleep(600 * RANK), x)
    Fake.call = call
    """
    one = crew(fake("hanging", hanging))
    pids = [rank.pid for rank in one._ranks]

    with pytest.raises(CrewError, match="rank 1 did not answer within 1 s"):
        one.ask(RUN, 1.0)
    assert all(map(is_gone, pids))


def test_an_error_of_one_rank_does_not_wait_for_the_others_for_long(crew: Start, fake: Fake) -> None:
    failing = """
    def call(self, op, x, form):
        if RANK == 0:
            raise ValueError("no such thing")
        return Call(lambda: time.sleep(600))
    Fake.call = call
    """
    with pytest.raises(CrewError, match="ValueError: no such thing"):
        crew(fake("failing", failing)).ask(RUN, 600)


def test_what_all_ranks_do_not_serve_is_no_failure(crew: Start, fake: Fake) -> None:
    one = crew(fake("lazy", ""))

    with pytest.raises(NotServed, match="all_sum"):
        one.ask(RUN, 60)
    assert not one.failure
    assert len(one.ask({"do": "memory"}, 60)) == 2


def test_a_library_that_is_missing_says_so(fake: Fake) -> None:
    missing = fake("missing", "import no_such_library")
    with Crew(missing, 2) as one, pytest.raises(CrewError, match="No module named 'no_such_library'"):
        one.start((HERE,), os.environ, 60)


@pytest.mark.parametrize(
    ("contender", "told"),
    [
        (Contender("a", "native", "/no/such/python"), "No such file"),
        (Contender("b", "native", "/bin/false"), "did not answer|ended with status|came before"),
        (Contender("c", "mpi", sys.executable, mpiexec="/bin/false"), "ended with status 1"),
    ],
)
def test_what_cannot_be_started_says_so(contender: Contender, told: str) -> None:
    with Crew(contender, 2) as one, pytest.raises(CrewError, match=told):
        one.start((HERE,), os.environ, 2.0)


def test_ranks_that_are_not_in_one_group_are_found_out(fake: Fake) -> None:
    with Crew(fake("alone", "RANK, SIZE = 0, 1"), 2) as one:
        one.start((HERE,), os.environ, 60)
        with pytest.raises(CrewError, match=r"its ranks say that they are \[0, 0\] of 1"):
            one.init(60)


@pytest.mark.skipif(sys.platform != "linux", reason="SIGIO ends a process on Linux only")
def test_ranks_in_the_middle_of_a_call_end_with_a_driver_that_was_killed(tmp_path: Path, fake: Fake) -> None:
    busy = """
    def call(self, op, x, form):
        return Call(lambda: time.sleep(600))
    Fake.call = call
    """
    program = f"""
import os
from jobkit.bench.contenders import Contender
from jobkit.bench.crew import Crew
from jobkit.bench.places import HERE
crew = Crew(Contender("busy", {fake("busy", busy).library!r}), 2)
crew.start((HERE,), os.environ, 60)
crew.init(60)
print(*[rank.pid for rank in crew._ranks], flush=True)
crew.ask({RUN!r}, 600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as driver:
        assert driver.stdout is not None
        pids = [int(word) for word in driver.stdout.readline().split()]
        driver.send_signal(signal.SIGKILL)
    assert len(pids) == 2
    assert all(map(is_gone, pids))
