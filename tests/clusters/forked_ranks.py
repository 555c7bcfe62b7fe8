"""Start ranks on one host that share the time of the imports: each is a fork, made before there is any group.

    python forked_ranks.py FIRST COUNT PROGRAM

The ranks FIRST and on run the text PROGRAM, with `MLX_RANK` set. When each has ended or stopped, those that
stopped are killed, and a list of {"status", "out"} in rank order is printed: the exit status, -N for signal
N, "stopped"; and what was written to both streams.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import traceback
from typing import IO

import numpy

import jobkit.native

assert numpy and jobkit.native


def start(rank: int, program: str, output: IO[bytes]) -> int:
    """Fork a rank; return its process id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        os.environ["MLX_RANK"] = str(rank)
        exec(compile(program, "rank", "exec"), {"__name__": "__main__"})
        jobkit.native.shutdown()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0
    except BaseException:  # noqa: BLE001 - shown as Python would
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def outcome(pid: int) -> int | str:
    """Wait until a rank has ended or stopped."""
    _, status = os.waitpid(pid, os.WUNTRACED)
    return "stopped" if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)


def main() -> None:
    """Run the ranks, and tell of them."""
    first, count, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    with contextlib.ExitStack() as closing:
        files = [closing.enter_context(tempfile.TemporaryFile()) for _ in range(count)]
        pids = [start(first + i, program, file) for i, file in enumerate(files)]
        told: list[dict[str, object]] = [{"status": outcome(pid)} for pid in pids]
        for pid, file, each in zip(pids, files, told, strict=True):
            if each["status"] == "stopped":
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            file.seek(0)
            each["out"] = file.read().decode(errors="replace")
    print(json.dumps(told))


if __name__ == "__main__":
    main()
