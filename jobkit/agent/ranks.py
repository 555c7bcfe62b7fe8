"""Start one rank: the shim in a session of its own, which becomes the program."""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from jobkit.agent.pipes import Inlet, Source
from jobkit.agent.request import Request
from jobkit.agent.room import Seat
from jobkit.env import names
from jobkit.env.record import now
from jobkit.errors import complaint

_OWN_FILES = 16  # of the agent itself, and while a rank starts


@dataclass
class Rank:
    """A rank that was started.

    Attributes:
        rank: Its rank.
        pid: Process, session and process group.
        seat: The agent's end of its socket pair.
        inlet: Its standard input; None where it has none.
        sources: Its output streams; none where they are files.
        began: When it was started.
        running: Whether its own program runs.
        over: Whether it has ended.
    """

    rank: int
    pid: int
    seat: Seat
    inlet: Inlet | None
    sources: tuple[Source, ...]
    began: str
    running: bool = False
    over: bool = False


def base_environ(request: Request, run_dir: Path) -> dict[str, str]:
    """Return what setup starts from: the request's environment, the interpreter's folder first on PATH.

    With the job's id, run folder and node, by which its processes are found at its end.
    """
    environ = dict(request.environ)
    folder = str(Path(request.python).parent)
    path = environ.get("PATH") or "/usr/local/bin:/usr/bin:/bin"
    if path.split(":")[0] != folder:
        path = f"{folder}:{path}"
    own = {names.JOB: request.job, names.RUN_DIR: str(run_dir), names.NODE: str(request.node)}
    return {**environ, "PATH": path, **own}


def rank_environ(
    request: Request, rank: int, environ: dict[str, str], run_dir: Path, agent_fd: int
) -> dict[str, str]:
    """Return the environment of one rank's shim.

    Args:
        request: What was asked.
        rank: The rank.
        environ: What setup left, with the overlay.
        run_dir: The run folder.
        agent_fd: The rank's end of its socket pair.
    """
    local = request.numbers.index(rank)
    values = (rank, request.size, local, request.local_size, request.node, request.nodes)
    placed = {name: str(value) for name, value in zip(names.PLACEMENT, values, strict=True)}
    placed |= {names.JOB: request.job, names.ATTEMPT: str(request.attempt), names.RUN_DIR: str(run_dir)}
    placed |= {names.AGENT_FD: str(agent_fd), names.CONNECTIONS_PER_IP: str(request.connections_per_ip)}
    placed |= {names.SPEC_HASH: request.spec_hash, names.SUBNET: request.subnet or ""}
    placed[names.PORTS] = f"{request.ports[0]}-{request.ports[1]}" if request.ports else ""
    placed[names.NCCL_BOOTSTRAP_PORT] = str(request.nccl_port or "")
    placed |= {
        names.GPUS_PER_RANK: str(request.gpus_per_rank),
        names.SHARE_GPUS: str(int(request.share_gpus)),
    }
    placed[names.JACCL_HOSTFILE] = jaccl_file(request, run_dir)
    placed[names.ADDRESSES] = ",".join(request.addresses[local]) if request.addresses else ""
    if request.token is not None:
        placed[names.SHARED_DIR] = str(run_dir)  # what is in it is the same on all hosts: the token
    return {**_talkative(request, environ), **placed}


def jaccl_file(request: Request, run_dir: Path) -> str:
    """Return the path of the hostfile with JACCL's matrix, "" without."""
    return request.jaccl_hostfile or "" if request.jaccl_rows is None else str(run_dir / "jaccl.json")


def _talkative(request: Request, environ: dict[str, str]) -> dict[str, str]:
    """Python's output unbuffered; colours and the width of the terminal that shows it."""
    helpful = {"PYTHONUNBUFFERED": "1"}
    if request.terminal is not None:
        columns, lines = request.terminal
        helpful |= {"COLUMNS": str(columns), "LINES": str(lines)}
        helpful |= {} if environ.get("NO_COLOR") else {"FORCE_COLOR": "1"}
    return {**helpful, **environ}


def too_many(request: Request, limit: int) -> str:
    """Return why this host cannot have so many ranks, or "": each of them takes open files of the agent's.

    Args:
        request: What was asked.
        limit: How many files a process may have open.
    """
    of_each = (
        2 + (request.stdin == "all") + 2 * (request.output == "pipe")
    )  # its seat, its pidfd, its streams
    most = (limit - _OWN_FILES) // of_each
    if request.local_size <= most:
        return ""
    return complaint(
        f"{request.local_size} ranks need more open files than are allowed",
        f"{of_each} for each",
        expected=f"at most {most} ranks on this host",
        hint="ulimit -n allows more",
    )


def start(request: Request, rank: int, environ: dict[str, str], run_dir: Path, folder: Path) -> Rank:
    """Start a rank.

    Args:
        request: What was asked.
        rank: The rank.
        environ: What setup left, with the overlay.
        run_dir: The run folder.
        folder: The attempt's folder in it, where output files are.

    Raises:
        OSError: The interpreter is not there, or the folder is full or gone.
    """
    ours, theirs = socket.socketpair()
    has_stdin = request.stdin == "all" or request.stdin == str(rank)
    began = now()
    with theirs:
        outputs = [_output(request, folder, rank, name) for name in ("out", "err")]
        try:
            process = subprocess.Popen(
                shim_command(request),
                cwd="/",
                env=rank_environ(request, rank, environ, run_dir, theirs.fileno()),
                stdin=subprocess.PIPE if has_stdin else subprocess.DEVNULL,
                stdout=outputs[0],
                stderr=outputs[1],
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        finally:
            for fd in outputs:
                if fd >= 0:
                    os.close(fd)
    return _rank(rank, process, Seat(rank, ours), began)


def _rank(rank: int, process: subprocess.Popen[bytes], seat: Seat, began: str) -> Rank:
    # The agent collects every child itself, in the order in which they end.
    process.returncode = 0
    inlet = None if process.stdin is None else Inlet(os.dup(process.stdin.fileno()))
    pipes = [
        (stream, pipe) for stream, pipe in ((1, process.stdout), (2, process.stderr)) if pipe is not None
    ]
    sources = tuple(Source(rank, stream, os.dup(pipe.fileno())) for stream, pipe in pipes)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    return Rank(rank, process.pid, seat, inlet, sources, began)


def shim_command(request: Request) -> list[str]:
    """Return the shim's command line.

    It starts in "/", so that a module of the user's working directory cannot stand in for one of Python's
    own.
    """
    options = ["--backend", ",".join(request.backend), "--chdir", request.workdir]
    start = ["-m"] if request.package is None else [f"{request.package}/jobkit/remote/there/run.py"]
    return [request.python, *start, "jobkit.env", *options, "--", *request.command]


def _output(request: Request, folder: Path, rank: int, name: str) -> int:
    if request.output == "pipe":
        return subprocess.PIPE
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
    return os.open(folder / f"rank-{rank}.{name}", flags, 0o600)
