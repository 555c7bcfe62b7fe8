"""The shim as a process: what a program under it finds, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobkit.env.__main__ import arguments
from jobkit.errors import SpecError


def shim(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    base = {"PATH": os.environ["PATH"]}
    return subprocess.run(
        [sys.executable, "-m", "jobkit.env", *words], env={**base, **environ}, capture_output=True, text=True
    )


def found(*words: str, **environ: str) -> dict[str, str]:
    ran = shim(*words, "--", "env", **environ)
    assert ran.returncode == 0, ran.stderr
    return dict(line.split("=", 1) for line in ran.stdout.splitlines())


@pytest.mark.parametrize(
    ("words", "given", "command"),
    [
        (["true"], {}, ("true",)),
        (["--backend", "ring", "--", "a", "--b"], {"--backend": "ring"}, ("a", "--b")),
        (["--chdir=/", "a", "--backend", "b"], {"--chdir": "/"}, ("a", "--backend", "b")),
        (["--", "--", "x"], {}, ("--", "x")),
    ],
)
def test_options_end_at_the_first_word_of_the_command(
    words: list[str], given: dict[str, str], command: tuple[str, ...]
) -> None:
    assert arguments(words) == (given, command)


@pytest.mark.parametrize("words", [[], ["--"], ["--backend", "ring"], ["--nonsense", "true"]])
def test_bad_usage_is_refused(words: list[str]) -> None:
    with pytest.raises(SpecError):
        arguments(words)


def test_by_hand_a_program_is_rank_0_of_1() -> None:
    environ = found(MLX_RANK="", MLX_HOSTFILE="", NCCL_PORT="7")
    assert (environ["JOBKIT_RANK"], environ["JOBKIT_SIZE"], environ["WORLD_SIZE"]) == ("0", "1", "1")
    assert not environ.keys() & {"MLX_RANK", "MLX_HOSTFILE", "NCCL_PORT"}


def test_mlx_is_a_group_of_one_by_hand() -> None:
    pytest.importorskip("mlx.core")
    program = "import mlx.core as mx; print(mx.distributed.init().size())"
    assert shim("--", sys.executable, "-c", program).stdout == "1\n"


def test_variables_set_by_hand_stay(tmp_path: Path) -> None:
    hostfile = tmp_path / "hosts.json"
    hostfile.write_text('[["127.0.0.1:5000"], ["127.0.0.1:5001"]]')
    environ = found(MLX_RANK="1", MLX_HOSTFILE=str(hostfile))
    assert (environ["MLX_RANK"], environ["MLX_HOSTFILE"]) == ("1", str(hostfile))
    assert (environ["JOBKIT_RANK"], environ["JOBKIT_SIZE"]) == ("1", "2")
    assert "MASTER_PORT" not in environ


def test_a_shim_inside_a_rank_keeps_what_the_rank_has() -> None:
    names = ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE", "NODE", "NODES")
    placed = {f"JOBKIT_{name}": value for name, value in zip(names, "121201", strict=True)}
    given = {**placed, "MLX_RANK": "1", "MLX_HOSTFILE": "/h", "JOBKIT_GANG_FILE": "/g", "JOBKIT_JOB": "j1"}
    environ = found(**given)
    assert {name: environ[name] for name in given} == given


def test_ranks_without_a_way_to_meet_are_refused() -> None:
    ran = shim("--", "true", RANK="1", WORLD_SIZE="2")
    assert ran.returncode == 125
    assert "the launcher gives its job no name" in ran.stderr


def test_without_a_backend_they_need_none() -> None:
    environ = found("--backend", "none", RANK="1", WORLD_SIZE="2")
    assert (environ["JOBKIT_RANK"], environ["JOBKIT_SIZE"]) == ("1", "2")


def test_a_name_that_is_no_text_is_met_under_like_any_other() -> None:
    command = [sys.executable, "-m", "jobkit.env", "--", "true"]
    address = {b"RANK": b"1", b"WORLD_SIZE": b"2", b"MASTER_ADDR": b"\xff\xfe", b"MASTER_PORT": b"1"}
    environ = {**os.environb, **address, b"JOBKIT_GANG_TIMEOUT_S": b"0"}
    ran = subprocess.run(command, env=environ, capture_output=True, check=False)
    assert ran.returncode == 125
    assert b"found no coordinator on \\udcff\\udcfe within 0 s" in ran.stderr


def test_an_error_that_cannot_be_written_keeps_its_status() -> None:
    command = [sys.executable, "-m", "jobkit.env", "--", "true"]
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            command, env={**os.environ, "RANK": "5", "WORLD_SIZE": "2"}, stderr=full, check=False
        )
    assert ran.returncode == 2


@pytest.mark.parametrize(
    ("words", "environ", "status"),
    [
        (["--", "true"], {}, 0),
        (["--", "sh", "-c", "exit 7"], {}, 7),
        (["--", "no-such-program"], {}, 127),
        (["--", "/etc/passwd"], {}, 126),
        (["--chdir", "/no/such", "--", "true"], {}, 125),
        (["--backend", "tcp", "--", "true"], {}, 2),
        (["--backend", "nccl", "--", "true"], {"CUDA_VISIBLE_DEVICES": ""}, 125),
        (["--", "true"], {"JOBKIT_RANK": "x"}, 2),
        ([], {}, 2),
    ],
)
def test_its_exit_status(words: list[str], environ: dict[str, str], status: int) -> None:
    ran = shim(*words, **environ)
    assert ran.returncode == status
    assert ("jobkit: error: " in ran.stderr) == (status not in (0, 7))


def test_it_starts_in_the_folder_asked_for(tmp_path: Path) -> None:
    assert shim("--chdir", str(tmp_path), "--", "pwd").stdout.strip() == str(tmp_path)
    assert found("--chdir", str(tmp_path))["PWD"] == str(tmp_path)


def test_it_loads_nothing_that_is_slow_to_load() -> None:
    program = """
import runpy, sys
import jobkit.env.__main__ as shim
shim.become = lambda *_: print(*sys.modules)
shim.main(["--", "true"], {"PATH": "/bin:/usr/bin"})
"""
    ran = subprocess.run(
        [sys.executable, "-S", "-c", program],
        capture_output=True,
        text=True,
        cwd="/",
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    loaded = set(ran.stdout.split())
    assert "jobkit.env.shim" in loaded, ran.stderr
    assert not loaded & {
        "argparse",
        "dataclasses",
        "inspect",
        "json",
        "pathlib",
        "re",
        "socket",
        "subprocess",
        "typing",
    }


@pytest.mark.parametrize("value", ["77", "x", "-1", "0"])
def test_a_connection_to_the_agent_that_is_none_is_an_error(value: str) -> None:
    ran = shim("true", JOBKIT_AGENT_FD=value)

    assert ran.returncode == 125
    assert ran.stderr.startswith(f"jobkit: error: JOBKIT_AGENT_FD: no connection to an agent, got '{value}'")
    assert "Traceback" not in ran.stderr


def test_a_program_knows_which_launchers_were_there_when_it_was_placed() -> None:
    environ = found("--backend", "none", RANK="1", WORLD_SIZE="2", PBS_JOBID="12.s")
    assert environ["JOBKIT_OUTER"] == "pbs=pbs-12.s: env=RANK:1 env=WORLD_SIZE:2"
