"""Jobs in a Slurm with slurmdbd: what only the database still knows, accounts, memory that is used up."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import accounting
from clusters.accounting import ACCOUNT, Accounted
from clusters.slurm import NODES


@pytest.fixture(scope="module")
def _accounted(_hosts_can_be_had: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Accounted]:
    if reason := accounting.why_not():
        pytest.skip(reason)
    running = Accounted(tmp_path_factory.mktemp("accounted"))
    yield running
    running.end()


@pytest.fixture
def cluster(_accounted: Accounted) -> Iterator[Accounted]:
    """A Slurm with accounts; what a test leaves in its queue is cancelled."""
    yield _accounted
    _accounted.clear()


@pytest.fixture
def submit(cluster: Accounted, jobkit_home: Path, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Submit a program to two nodes of two ranks; return the exit status, and what was said."""

    def run(program: str, *lines: str, words: tuple[str, ...] = ("--wait",)) -> tuple[int, str]:
        head = ("executor: slurm", "nodes: 2", "ranks_per_node: 2", "backend: none", "memory: 300M")
        command = json.dumps([sys.executable, "-c", program])
        (tmp_path / "a.yaml").write_text("\n".join((*head, f"run: {command}", *lines)) + "\n")
        done = cluster.run("jobkit", "submit", "a.yaml", *words, cwd=str(tmp_path), check=False)
        return done.returncode, done.stderr

    return run


def status(cluster: Accounted, job: str = "last") -> Any:
    return json.loads(cluster.run("jobkit", "status", job, "--json").stdout)


@pytest.mark.parametrize("account", ["chemistry", "''"], ids=["unknown", "empty"])
def test_an_account_that_slurm_does_not_know_is_refused(
    account: str, submit: Callable[..., tuple[int, str]], jobkit_home: Path
) -> None:
    returned, said = submit("", f"slurm: {{extra: {{account: {account}}}}}")
    assert returned == 125
    assert "Invalid account" in said
    assert list((jobkit_home / "jobs").iterdir()) == []


def test_a_job_that_slurm_has_forgotten_is_told_by_the_database(
    cluster: Accounted, submit: Callable[..., tuple[int, str]], jobkit_home: Path, wait: Callable[..., Any]
) -> None:
    hold = f"slurm: {{account: {ACCOUNT}, extra: {{hold: ''}}}}"
    assert submit("", hold, words=("--id", "a"))[0] == 0
    number = status(cluster, "a")["scheduler_id"]
    cluster.run("scancel", number)
    assert wait(lambda: cluster.run("squeue", "--noheader", "--states=all").stdout == "")
    known = status(cluster, "a")
    assert (known["state"], known["exit"]["status"]) == ("cancelled", 143)
    assert known["ended"] is not None


def test_the_first_failing_rank_gives_the_status(
    cluster: Accounted, submit: Callable[..., tuple[int, str]]
) -> None:
    program = "import os, sys, time; os.environ['JOBKIT_RANK'] == '3' and sys.exit(7); time.sleep(600)"
    assert submit(program, f"slurm: {{account: {ACCOUNT}}}")[0] == 7
    assert status(cluster)["exit"]["rank"] == 3


def test_a_rank_that_uses_up_the_memory_is_named(
    cluster: Accounted, submit: Callable[..., tuple[int, str]]
) -> None:
    program = (
        "import os, time\nkept = os.environ['JOBKIT_RANK'] == '3' and b'x' * 700_000_000\ntime.sleep(600)"
    )
    returned, said = submit(program, f"slurm: {{account: {ACCOUNT}}}")
    assert returned == 137, said
    known = status(cluster)["exit"]
    assert (known["rank"], known["host"], known["class"]) == (3, NODES[1], "out of memory")


def test_a_limit_of_the_account_is_told_as_the_reason(
    cluster: Accounted, submit: Callable[..., tuple[int, str]], wait: Callable[..., Any]
) -> None:
    cluster.run("sacctmgr", "--immediate", "modify", "account", ACCOUNT, "set", "GrpTRES=cpu=2")
    try:
        assert submit("", f"slurm: {{account: {ACCOUNT}}}", words=())[0] == 0
        told = "a limit of its account for all jobs together is reached (AssocGrpCpuLimit)"
        assert wait(lambda: (status(cluster)["reason"] or "").startswith(told)), status(cluster)
    finally:
        cluster.run("sacctmgr", "--immediate", "modify", "account", ACCOUNT, "set", "GrpTRES=cpu=-1")
