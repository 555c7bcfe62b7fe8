from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

# A witness, and who calls it: prints its process id, then what it says and returns.
PROGRAM = """
import os, signal, sys
from jobkit.env.witness import FINISHED, testify
lease, hold = os.pipe()
echo, say = os.pipe()
caught = frozenset((signal.SIGUSR1, signal.SIGTERM))
signal.pthread_sigmask(signal.SIG_BLOCK, caught)
pid = os.fork()
if pid == 0:
    os._exit(0 if testify(lease, say, caught, set()) else 9)
os.close(say)
print(pid, flush=True)
for line in sys.stdin:
    if line == "finished\\n":
        os.write(hold, FINISHED)
        break
    print(*os.read(echo, 100), flush=True)
os.close(hold)
print(os.read(echo, 1), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


def test_it_says_which_signals_come_and_how_its_watcher_ended(alive: Callable[[int], bool]) -> None:
    for last, status in (("finished\n", "0"), ("", "9")):
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            pid = int(process.stdout.readline())
            for number in (signal.SIGUSR1, signal.SIGTERM):
                os.kill(pid, number)
                process.stdin.write("\n")
                process.stdin.flush()
                assert int(process.stdout.readline()) == number
            ended: Any = process.communicate(last)[0]
        assert ended == f"b'' {status}\n"
        assert not alive(pid)
