"""`jobkit validate` says ok on stdout and complains on stderr."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobkit.cli import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with specs, and the one in which the command runs."""
    (tmp_path / "good.yaml").write_text("run: a\nranks: 2\n")
    (tmp_path / "sweep.yaml").write_text(
        "run: a ${{ sweep.lr }}\nexecutor: slurm\nnodes: 2\nsweep: {lr: [1, 2]}\n"
    )
    (tmp_path / "bad.yaml").write_text("run: a\nrank: 2\nnodes: x\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_good_specs_are_ok(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "good.yaml", "sweep.yaml"]) == 0

    output = capsys.readouterr()
    assert output.out == (
        "good.yaml: ok (2 ranks, 1 node, local)\nsweep.yaml: ok (2 ranks, 2 nodes, slurm, 2 points)\n"
    )
    assert output.err == ""


def test_every_complaint_is_on_stderr_and_the_status_is_2(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", "bad.yaml", "good.yaml", "none.yaml"]) == 2

    output = capsys.readouterr()
    assert output.out == "good.yaml: ok (2 ranks, 1 node, local)\n"
    assert output.err.splitlines() == [
        "jobkit: error: bad.yaml:2: rank: unknown key, got 'rank', expected 'ranks', the nearest key",
        "bad.yaml:3: nodes: not an integer, got 'x', expected an integer >= 1",
        "jobkit: error: none.yaml: cannot be read: no such file or directory",
    ]


def test_values_and_executor_can_be_replaced(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "sweep.yaml", "--executor", "local", "--set", "ranks_per_node=3"]) == 0

    output = capsys.readouterr()
    assert output.out == "sweep.yaml: ok (3 ranks, 1 node, local, 2 points)\n"
    assert output.err == "sweep.yaml: smoke test on local instead of slurm: nodes left out\n"


def test_results_are_json_when_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--json", "good.yaml", "bad.yaml"]) == 2

    good, bad = json.loads(capsys.readouterr().out)
    assert good == {
        "file": "good.yaml",
        "ok": True,
        "complaints": [],
        "name": "good",
        "executor": "local",
        "ranks": 2,
        "nodes": 1,
        "backend": ["any"],
        "notes": [],
        "tasks": 1,
    }
    assert (bad["file"], bad["ok"], len(bad["complaints"])) == ("bad.yaml", False, 2)


def test_a_hint_stays_with_its_complaint(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad.yaml").write_text("run: [a, ${HOME}]\n")

    assert main(["validate", "--json", "bad.yaml"]) == 2
    (complaint,) = json.loads(capsys.readouterr().out)[0]["complaints"]
    assert complaint.startswith("bad.yaml:1: not YAML")
    assert "\n\nhint: " in complaint


def test_variables_come_from_the_environment(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "good.yaml").write_text("run: a ${JK_TEST}\n")

    assert main(["validate", "good.yaml"]) == 2
    monkeypatch.setenv("JK_TEST", "x")
    assert main(["validate", "good.yaml"]) == 0
    assert "JK_TEST is not set" in capsys.readouterr().err
