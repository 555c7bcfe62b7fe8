"""The templates in slurm/ on a real Slurm, submitted from an environment that another job has left."""

from __future__ import annotations

import json
import re
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters.slurm import NODES, Slurm

TEMPLATES = sorted((Path(__file__).parents[2] / "slurm").glob("*.sbatch"))
# What a job around the submission leaves: srun would refuse some, and obey the others.
STALE = {
    "SLURM_NTASKS": "3",
    "SLURM_NPROCS": "3",
    "SLURM_NTASKS_PER_NODE": "3",
    "SLURM_MEM_PER_CPU": "100",
    "SLURM_MEM_PER_NODE": "200",
    "SLURM_GPUS": "8",
    "SLURM_DISTRIBUTION": "arbitrary",
    "SLURM_CPU_BIND": "quiet,mask_cpu:0x2",
    "SLURM_EXPORT_ENV": "NONE",
    "SRUN_CPUS_PER_TASK": "9",
    "JOBKIT_RANK": "5",
    "JOBKIT_JOB": "other",
    "JOBKIT_RUN_DIR": "/nowhere",
}
# Without a ':' alone, with which sbatch itself begins another component.
ARGUMENTS = ["a  b", "", "$HOME `e` \"d\" 'c'", "é\nsecond line\\ %j;#"]
NAMES = ("JOBKIT_JOB", "JOBKIT_LOCAL_SIZE", "JOBKIT_NODES", "JOBKIT_RANK", "JOBKIT_RUN_DIR", "JOBKIT_SIZE")
NAMES += ("MLX_HOSTFILE", "OMP_NUM_THREADS", "SLURMD_NODENAME")
# In a file each, since srun cuts long lines where ranks write at the same time.
SAY = (
    "import json, os, pathlib, sys; folder = pathlib.Path(os.environ['JOBKIT_RUN_DIR']);"
    f"found = {{name: os.environ.get(name) for name in {NAMES!r}}};"
    "(folder / f\"{found['JOBKIT_RANK']}.json\").write_text(json.dumps([sys.argv[1:], found]))"
)
FAIL = f"{SAY}; import time; os.environ['JOBKIT_RANK'] == '3' and sys.exit(7); time.sleep(600)"
KILL = "import os, time; os.environ['JOBKIT_RANK'] == '3' and os.kill(os.getppid(), 9); time.sleep(600)"


class Desk:
    """Submits templates from one folder."""

    def __init__(self, cluster: Slurm, work: Path) -> None:
        self.cluster, self.work = cluster, work
        self.numbers: dict[str, str] = {}
        self.environ = {**STALE, "JOBKIT_HOME": str(work / "home"), "XDG_CACHE_HOME": str(work / "cache")}

    def submit(self, name: str, *command: str, options: tuple[str, ...] = (), **variables: str) -> str:
        """Return the number of a job; its output is in NAME.out."""
        template = str(Path(__file__).parents[2] / "slurm" / f"{name}.sbatch")
        words = ("sbatch", "--parsable", f"--output={name}%a.out", *options, template, *command)
        environ = self.environ | variables
        return self.cluster.run(*words, cwd=str(self.work), **environ).stdout.strip()

    def ended(self) -> None:
        """Wait until no job is left."""
        self.cluster.until("", "squeue", "--noheader")

    def status(self, number: str) -> int:
        """Return the exit status that Slurm has of a job."""
        shown = self.cluster.run("scontrol", "show", "job", number).stdout
        found = re.search(r" ExitCode=(\d+):0", shown)
        assert found, shown
        return int(found[1])

    def output(self, name: str) -> str:
        """Return what a job has written; not an array's."""
        return (self.work / f"{name}4294967294.out").read_text()

    def said(self, number: str) -> list[Any]:
        """Return what the ranks of a job have said, in the order of their ranks."""
        folder = self.work / ".jobkit" / number
        return [json.loads(path.read_text()) for path in sorted(folder.glob("?.json"))]

    def jobkit(self, *words: str) -> Any:
        """Return what jobkit tells as JSON on the login host."""
        environ = {name: value for name, value in self.environ.items() if name not in STALE}
        return json.loads(self.cluster.run("jobkit", *words, "--json", cwd="/", **environ).stdout)


@pytest.fixture(scope="module")
def desk(_slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One of each kind of job, all at once and all ended."""
    work = tmp_path_factory.mktemp("templates") / "work, with 'quotes' 100%"
    work.mkdir()
    (work / "own python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (work / "own python").chmod(0o700)
    desk = Desk(_slurm, work)
    allsum = str(Path(__file__).parents[2] / "docs" / "examples" / "allsum.py")
    desk.numbers = {
        "ring": desk.submit("ring", "python", "-c", FAIL, *ARGUMENTS),
        "killed": desk.submit("ring", "python", "-c", KILL, options=("--output=killed%a.out",)),
        "mpi": desk.submit("mpi", "python", allsum),
        "hetjob": desk.submit("hetjob", "python", "-c", SAY, *ARGUMENTS),
        "sweep": desk.submit("sweep", "python", "-c", f"{SAY}; print(folder)", "a  b"),
        "ci-smoke": desk.submit("ci-smoke", JOBKIT_PYTHON="./own python"),
    }
    desk.ended()
    yield desk
    _slurm.clear()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_slurm_would_take_it(cluster: Slurm, template: Path) -> None:
    cluster.run("sbatch", "--test-only", str(template), "python", "train.py", **STALE)


def test_the_first_failing_rank_gives_the_status(desk: Desk) -> None:
    number = desk.numbers["ring"]
    assert desk.status(number) == 7, desk.output("ring")
    known = desk.jobkit("status", f"slurm:{number}")
    assert (known["id"], known["state"]) == (f"slurm-{number}", "failed")
    assert (known["exit"]["rank"], known["exit"]["status"], known["exit"]["host"]) == (3, 7, NODES[1])
    assert {job["id"] for job in desk.jobkit("list")} > {f"slurm-{number}"}


def test_ranks_find_their_arguments_and_what_the_job_has_asked_for(desk: Desk) -> None:
    ranks = desk.said(desk.numbers["ring"])
    assert [rank[0] for rank in ranks] == [ARGUMENTS] * 4
    for _, environ in ranks:
        assert [environ[name] for name in ("JOBKIT_SIZE", "JOBKIT_NODES", "OMP_NUM_THREADS")] == [
            "4",
            "2",
            "1",
        ]
        assert environ["JOBKIT_RUN_DIR"] == f"{desk.work}/.jobkit/{desk.numbers['ring']}"
        assert environ["JOBKIT_JOB"] == f"slurm-{desk.numbers['ring']}.0"
        assert Path(environ["MLX_HOSTFILE"]).is_relative_to(environ["JOBKIT_RUN_DIR"])
    assert [environ["SLURMD_NODENAME"] for _, environ in ranks] == [*2 * NODES[:1], *2 * NODES[1:2]]


def test_the_run_folder_and_its_token_are_private(desk: Desk) -> None:
    folder = desk.work / ".jobkit" / desk.numbers["ring"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
    assert re.fullmatch("[0-9a-f]{64}", (folder / "token").read_text())
    assert (desk.work / ".jobkit" / ".gitignore").read_text() == "*\n"


def test_a_rank_that_is_killed_with_its_shim_gives_137(desk: Desk) -> None:
    assert desk.status(desk.numbers["killed"]) == 137, desk.output("killed")


def test_ranks_sum_over_mpi(desk: Desk) -> None:
    assert desk.status(desk.numbers["mpi"]) == 0, desk.output("mpi")
    assert desk.output("mpi").count("array([4, 4, 4, ..., 4, 4, 4], dtype=float32)") == 4


def test_the_components_of_a_heterogeneous_job_are_one_world(desk: Desk) -> None:
    ranks = desk.said(desk.numbers["hetjob"])
    assert [rank[0] for rank in ranks] == [ARGUMENTS] * 5
    assert [environ["JOBKIT_LOCAL_SIZE"] for _, environ in ranks] == ["1", "2", "2", "2", "2"]
    assert len({environ["SLURMD_NODENAME"] for _, environ in ranks}) == 3
    assert desk.status(desk.numbers["hetjob"]) == 0, desk.output("hetjob")


def test_each_job_of_the_sweep_has_its_values(desk: Desk) -> None:
    folders = {(desk.work / f"sweep{point}.out").read_text().strip() for point in range(4)}
    said = [json.loads((Path(folder) / "0.json").read_text()) for folder in sorted(folders)]
    values = [["a  b", "--lr", lr, "--seed", seed] for lr in ("0.001", "0.003") for seed in ("0", "1")]
    assert sorted(arguments for arguments, _ in said) == values


def test_the_smoke_test_runs_with_the_interpreter_that_is_named(desk: Desk) -> None:
    assert desk.status(desk.numbers["ci-smoke"]) == 0, desk.output("ci-smoke")
    assert sorted(desk.output("ci-smoke").splitlines()) == ["0: rank 0 of 2: ok", "1: rank 1 of 2: ok"]


def test_what_cannot_run_is_said_before_the_ranks_start(desk: Desk) -> None:
    usage = desk.submit("ring")
    bare = desk.submit("mpi", "python", "train.py", JOBKIT_PYTHON="/usr/bin/python3 -S")
    beyond = desk.submit("sweep", "python", "-c", SAY, options=("--array=4",))
    desk.ended()
    assert (desk.status(usage), desk.output("ring").splitlines()[-1]) == (
        2, "usage: sbatch [OPTION...] TEMPLATE COMMAND [ARGUMENT...]",
    )  # fmt: skip
    assert desk.status(bare) == 125
    assert "/usr/bin/python3 -S has no jobkit; JOBKIT_PYTHON=PATH names" in desk.output("mpi")
    assert desk.status(beyond) == 2
    assert "there is no point 4, expected 0-3" in (desk.work / "sweep4.out").read_text()


def test_a_program_that_is_signalled_is_queued_again(
    cluster: Slurm, desk: Desk, tmp_path: Path, wait: Callable[..., bool]
) -> None:
    ready = tmp_path / "ready"
    program = (
        "import os, signal, sys\n"
        "if os.environ['JOBKIT_ATTEMPT'] == '2': sys.exit(5 if os.environ['JOBKIT_RANK'] == '2' else 0)\n"
        "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(0))\n"
        f"open({str(ready)!r} + os.environ['JOBKIT_RANK'], 'w').close()\n"
        "signal.pause()"
    )
    number = desk.submit("requeue", "python", "-c", program)
    assert wait(lambda: len(list(tmp_path.glob("ready?"))) == 4), desk.output("requeue")
    cluster.run("scancel", "--batch", "--signal=USR1", number)
    cluster.until("PENDING\n", "squeue", "--noheader", f"--jobs={number}", "--format=%T")
    # A node refuses a job in the second in which it has ended it: hence the two minutes that Slurm waits.
    cluster.run("scontrol", "update", f"JobId={number}", "StartTime=now+2")
    desk.ended()
    assert desk.status(number) == 5, desk.output("requeue")
    known = desk.jobkit("status", f"slurm:{number}")
    assert (known["attempt"], known["exit"]["rank"]) == (2, 2)
    assert "jobkit: attempt 2\n" in desk.output("requeue")
