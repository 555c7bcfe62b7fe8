from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from jobkit import spec
from jobkit.errors import SpecError
from jobkit.plan import Plan, plan
from jobkit.remote import login

TEXT = "executor: slurm\nrun: a\nslurm: {login: me@host}\n"


def parsed(*lines: str) -> spec.JobSpec:
    return spec.parse("\n".join((TEXT, *lines, "")), "a.yaml", {})


def planned(here: Path, *lines: str) -> Plan:
    asked = parsed(*lines)
    return plan(asked, cwd=login.cwd(asked, str(here)), python=login.PYTHON)


def test_what_stood_for_the_login_nodes_own_is_replaced(tree: Path) -> None:
    (tree / "sub").mkdir()
    subprocess.run(["git", "init", "-q", tree], check=True)
    found = planned(tree / "sub", "workdir: ../other", "run_dir: /scratch/runs")
    assert found.workdir == "<tree>/sub/../other"
    there = login.there(found, "/home/me/trees/<tree>", "/usr/bin/python3")
    assert (there.workdir, there.run_dir) == ("/home/me/trees/<tree>/other", "/scratch/runs")
    assert (there.python, there.slurm.login) == ("/usr/bin/python3", None)
    assert login.of(found, str(tree / "sub")) == login.Login("me@host", None, str(tree))


def test_an_interpreter_of_the_specs_stays(tree: Path) -> None:
    found = planned(tree, "python: /opt/python")
    assert login.of(found, str(tree)).python == "/opt/python"
    assert login.there(found, "/t", "/usr/bin/python3").python == "/opt/python"


def test_the_copy_that_an_old_job_ran_from_is_beside_the_trees(tree: Path) -> None:
    again = replace(planned(tree, "snapshot: true"), workdir=login.snapshot("old"))
    assert login.there(again, "/state/trees/a", "/usr/bin/python3").workdir == "/state/jobs/old/snapshot"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("workdir: ../outside", "a.yaml:5: workdir: not in the working tree, got '../outside'"),
        ("run_dir: ..", "run_dir: not in the working tree"),
        ("python: .venv/bin/python", "python: relative, got '.venv/bin/python', expected an absolute path"),
    ],
)
def test_a_path_that_is_not_in_the_tree_is_refused(tree: Path, line: str, words: str) -> None:
    with pytest.raises(SpecError) as refused:
        login.cwd(parsed(line), str(tree))
    assert words in str(refused.value)


def test_a_run_folder_tells_where_its_job_was_sent(tree: Path) -> None:
    assert login.read(tree) is None
    sent = login.Login("me@host", None, "/tree")
    (tree / "remote.json").write_text(login.dumps(sent))
    assert login.read(tree) == sent
