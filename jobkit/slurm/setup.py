"""Run the `setup` lines of a job once on a node, and leave what they changed for the ranks that start here.

usage: python -m jobkit.slurm.setup RUN_DIR POINT WORKDIR LINE…      POINT is "" without a sweep
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from jobkit.agent.setup import Setup
from jobkit.env import handover, names
from jobkit.errors import Exit
from jobkit.jobs import files

_POLL_S = 0.05
# The shell is not reaped before its process group, which has its number, is ended.
_ENDED = os.WEXITED | os.WNOWAIT


class _EndedError(Exception):
    """This step was told to end: what becomes of the lines then says nothing about them."""


def main(argv: list[str], environ: Mapping[str, str]) -> int:
    """Return 0 where every line has succeeded, 125 otherwise."""
    run_dir, point, workdir, *lines = argv
    path = Path(handover.setup_file(environ, handover.task_folder(run_dir, point)))
    before = _before(environ, run_dir, point)
    try:
        failure, after = _run(lines, before, workdir, path.with_suffix(".log"))
        left = {"failed": failure} if failure else changes(before, after)
        files.replace(path, (json.dumps(left) + "\n").encode())
    except _EndedError:
        return Exit.CANCELLED
    except OSError as error:
        failure = f"setup: cannot be run on {os.uname().nodename}: {error}"
    if failure:
        sys.stderr.write(f"jobkit: {failure}\n")
    return Exit.NOT_STARTED if failure else 0


def _before(environ: Mapping[str, str], run_dir: str, point: str) -> dict[str, str]:
    """Return what the lines start from: no variable of the spec, but the interpreter and who they are for."""
    own = handover.identity(run_dir, point) | {names.NODE: environ.get("SLURM_NODEID", "0")}
    return {**environ, "PATH": handover.search_path(environ.get("PATH", "")), **own}


def _run(lines: list[str], before: dict[str, str], workdir: str, log: Path) -> tuple[str, dict[str, str]]:
    """Return what went wrong, "" if nothing did, and the environment that the lines left."""
    setup = Setup(lines, before, workdir, log)
    signal.signal(signal.SIGTERM, _ended)
    pid = setup.process.pid
    try:
        while os.waitid(os.P_PID, pid, _ENDED | os.WNOHANG) is None:
            if select.select([setup], [], [], _POLL_S)[0] and not setup.read():
                os.waitid(os.P_PID, pid, _ENDED)
    finally:
        # Where Slurm tracks processes by cgroup, too, what the lines leave running ends with this step.
        os.killpg(pid, signal.SIGKILL)
        setup.process.wait()
    setup.drain()
    status, after = setup.process.returncode, setup.environ()
    setup.close()
    return ("" if after and not status else setup.failure(status, os.uname().nodename)), after


def _ended(_number: int, _frame: FrameType | None) -> None:
    raise _EndedError


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, object]:
    """Return what has become of an environment: the ranks of a node begin with more than their setup did.

    >>> changes({"A": "1", "B": "2", "C": "3"}, {"A": "1", "B": "0", "D": "4"})
    {'set': {'B': '0', 'D': '4'}, 'unset': ['C']}
    """
    new = {name: value for name, value in after.items() if before.get(name) != value}
    return {"set": new, "unset": [name for name in before if name not in after]}


def failed(attempt_dir: Path) -> str | None:
    """Return how the lines failed on a node, None where they did on none."""
    for path in sorted(attempt_dir.glob("setup-*.json")):
        try:
            text = json.loads(path.read_bytes()).get("failed")
        except (OSError, ValueError, AttributeError):
            continue
        if isinstance(text, str):
            return text
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], dict(os.environ)))
