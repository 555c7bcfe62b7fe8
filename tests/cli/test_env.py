from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest


def env(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobkit", "env", *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
    )


def test_it_shows_what_a_program_would_find() -> None:
    lines = env().stdout.splitlines()
    assert {"JOBKIT_RANK=0", "JOBKIT_SIZE=1", "MASTER_PORT=<after placement>"} <= set(lines)


def test_json_has_launcher_reason_placement_variables_and_evidence() -> None:
    said = json.loads(env("--json", RANK="1", WORLD_SIZE="2").stdout)
    assert list(said) == ["launcher", "reason", "placement", "variables", "evidence"]
    assert said["launcher"] == "env"
    assert said["placement"]["hosts"] == [os.uname().nodename] * 2


def test_sources_are_explained() -> None:
    lines = [line.split() for line in env("--explain").stdout.splitlines()]
    assert ["JOBKIT_RANK=0", "←", "no", "launcher"] in lines


def test_a_record_says_the_same_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "env.json"
    recorded = env(
        "--json", "--record", str(path), RANK="1", WORLD_SIZE="2", MY_TOKEN="sesame", JOBKIT_JOB="j"
    )
    assert "sesame" not in path.read_text()
    assert env("--json", "--from", str(path)).stdout == recorded.stdout


def test_the_output_of_env_is_read(tmp_path: Path) -> None:
    path = tmp_path / "env.txt"
    path.write_text("RANK=3\nWORLD_SIZE=4\n")
    placement = json.loads(env("--json", "--from", str(path)).stdout)["placement"]
    assert (placement["rank"], placement["size"], placement["hosts"]) == (3, 4, [None] * 4)


@pytest.mark.parametrize(
    ("words", "environ", "status"),
    [
        ([], {}, 0),
        (["--from", "/no/such/file"], {}, 2),
        (["--from", "/dev/null"], {}, 2),
        (["--record", "/no/such/file"], {}, 2),
        (["--backend", "tcp"], {}, 2),
        ([], {"RANK": "x", "WORLD_SIZE": "2"}, 2),
    ],
)
def test_its_exit_status(words: list[str], environ: dict[str, str], status: int) -> None:
    ran = env(*words, **environ)
    assert ran.returncode == status
    assert bool(ran.stderr) == bool(status)


def test_what_is_no_rank_has_an_answer_too() -> None:
    ran = env(SLURM_JOB_ID="44")
    assert (ran.returncode, ran.stdout) == (0, "")
    assert "an allocation without a step" in ran.stderr
    said = json.loads(env("--json", SLURM_JOB_ID="44").stdout)
    assert (said["launcher"], said["placement"], said["variables"]) == (None, None, {})
    assert "srun jobkit exec" in said["reason"]


def test_sources_that_contradict_each_other_are_both_printed() -> None:
    mpi = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "PMIX_RANK": "0", "PMIX_NAMESPACE": "n"}
    ran = env(**mpi, OMPI_COMM_WORLD_LOCAL_RANK="1", OMPI_COMM_WORLD_LOCAL_SIZE="2")
    assert ran.returncode == 2
    assert "OMPI_COMM_WORLD_RANK=1: contradicts PMIX_RANK=0" in ran.stderr


def test_a_record_is_for_its_user_alone_and_has_the_processes_above(tmp_path: Path) -> None:
    path = tmp_path / "env.json"
    path.write_text("")
    path.chmod(0o644)
    env("--record", str(path), PMI_RANK="0", PMI_SIZE="1", MPI_LOCALRANKID="0", MPI_LOCALNRANKS="1")
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["facts"]["ancestors"][1][0] == os.getpid()


def test_a_record_goes_into_a_pipe_that_is_there(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with ThreadPoolExecutor(1) as reader:
        text = reader.submit(fifo.read_text)
        assert env("--record", str(fifo)).returncode == 0
        assert json.loads(text.result())["schema"] == 1
    assert fifo.is_fifo()


def test_a_record_goes_to_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    assert env("--record", str(tmp_path / "link")).returncode == 0
    assert (tmp_path / "link").is_symlink()
    assert json.loads((tmp_path / "target").read_text())["facts"]["ancestors"]


def test_values_that_are_not_utf_8_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "env.bin"
    path.write_bytes(b"JOBKIT_RUN_DIR=/\xff\0JOBKIT_JOB=j\0")
    words = [sys.executable, "-m", "jobkit", "env", "--from", str(path)]
    assert b"JOBKIT_RUN_DIR=/\xff\n" in subprocess.run(words, capture_output=True).stdout
    assert json.loads(env("--json", "--from", str(path)).stdout)["variables"]["JOBKIT_RUN_DIR"] == "/\udcff"
