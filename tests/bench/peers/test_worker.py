from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from jobkit.bench import peers
from jobkit.bench.peers import worker

RUN = {
    "do": "run",
    "op": "send",
    "count": 100,
    "dtype": "float32",
    "form": "out",
    "iterations": 5,
    "warmup": 1,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / worker.LIFELINE)
    return tmp_path


def conversation(folder: Path, library: str, commands: list[dict[str, object]]) -> list[dict[str, object]]:
    """Start one rank, tell it each command, and return its answers."""
    lifeline = os.open(folder / worker.LIFELINE, os.O_RDWR)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / worker.SOCKET))
        listener.listen()
        program = [sys.executable, str(Path(peers.__file__).parent), library, str(folder)]
        with subprocess.Popen(program, cwd=folder) as process:
            connection = listener.accept()[0]
            with connection, connection.makefile("rw") as stream:
                answers = [json.loads(stream.readline())]
                for command in commands:
                    stream.write(json.dumps(command) + "\n")
                    stream.flush()
                    answers.append(json.loads(stream.readline()))
        assert process.returncode == 0
    os.close(lifeline)
    return answers


def test_a_rank_introduces_itself_and_does_what_it_is_told(folder: Path) -> None:
    commands = [{"do": "load"}, {"do": "init"}, RUN, {"do": "idle", "seconds": 0.01}, {"do": "memory"}]

    hello, _load, init, run, idle, memory = conversation(folder, "memcpy", commands)

    assert isinstance(hello["pid"], int)
    assert (init["rank"], init["size"]) == (0, 1)
    assert (run["form"], run["wrong"]) == ("out", 0)
    assert 0 < run["p50"] <= run["p99"]  # type: ignore[operator]
    assert set(idle) == {"wall", "cpu"}
    assert set(memory) == {"rss", "pss"}


def test_errors_and_what_is_not_served_are_answers(folder: Path) -> None:
    (folder / "own.py").write_text(
        "from peers.library import Library\n"
        "class Own(Library):\n"
        "    def call(self, op, x, form):\n"
        "        if op == 'send': raise KeyError('x')\n"
        "        return super().call(op, x, form)\n"
        "make = Own\n"
    )
    commands = [{"do": "load"}, {"do": "init"}, RUN, RUN | {"op": "all_sum"}, RUN | {"dtype": "bfloat16"}]

    answers = conversation(folder, str(folder / "own.py"), commands)

    assert answers[3:] == [
        {"error": "KeyError: 'x'"},
        {"unserved": "all_sum (out)"},
        {"unserved": "bfloat16"},
    ]


def test_a_rank_without_a_driver_does_not_start(folder: Path) -> None:
    program = [sys.executable, str(Path(peers.__file__).parent), "memcpy", str(folder)]

    done = subprocess.run(program, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "the driver is gone" in done.stderr


def test_modules_beside_the_peers_do_not_stand_in_for_others(folder: Path) -> None:
    (folder / "own.py").write_text(
        "from peers.library import Library\n"
        "import sys\n"
        "class Own(Library):\n"
        "    version = ' '.join(sys.path)\n"
        "make = Own\n"
    )

    answers = conversation(folder, str(folder / "own.py"), [{"do": "load"}, {"do": "init"}])

    assert str(Path(peers.__file__).parent.parent) not in str(answers[2]["version"]).split()
