from __future__ import annotations

import json
import os
import subprocess
import sys
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
    assert "JOBKIT_RANK=0                  ← no launcher" in env("--explain").stdout


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
