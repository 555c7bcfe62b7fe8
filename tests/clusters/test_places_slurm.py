"""Every way to start processes under Slurm: who is a rank, and which."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from clusters.places import check, check_no_rank, say, seen
from clusters.slurm import NODES, Slurm

A, B, C = NODES

STEPS = {
    "block": (["-N3", "--ntasks-per-node=2"], [A, A, B, B, C, C]),
    "cyclic": (["-N3", "--ntasks-per-node=2", "--distribution=cyclic"], [A, B, C, A, B, C]),
    "plane": (["-N3", "--ntasks-per-node=3", "--distribution=plane=2"], [A, A, B, B, C, C, A, A, B]),
    "uneven": (["-N2", "-n3", "--distribution=block"], None),
    "pmi2": (["-N2", "--ntasks-per-node=2", "--mpi=pmi2"], [A, A, B, B]),
    "pmix": (["-N2", "--ntasks-per-node=2", "--mpi=pmix"], [A, A, B, B]),
    "one task": (["-N1", "-n1"], [A]),
}


@pytest.mark.parametrize(("flags", "hosts"), STEPS.values(), ids=STEPS)
def test_the_tasks_of_a_step_are_ranks(
    cluster: Slurm, tmp_path: Path, flags: list[str], hosts: list[str] | None
) -> None:
    cluster.run("srun", *flags, *say(tmp_path))
    check(seen(tmp_path), "slurm", hosts)


@pytest.mark.parametrize("hosts", [[C, A, C, B, A, B], [A, A, A, B]], ids=["rank 0 elsewhere", "3 and 1"])
def test_an_arbitrary_distribution_is_followed(cluster: Slurm, tmp_path: Path, hosts: list[str]) -> None:
    file = tmp_path / "hosts"
    file.write_text("\n".join([*hosts, ""]))
    flags = (f"-N{len(set(hosts))}", f"-n{len(hosts)}", "--distribution=arbitrary")
    cluster.run("srun", *flags, *say(tmp_path), SLURM_HOSTFILE=str(file))
    check(seen(tmp_path), "slurm", hosts)


SUBSTEPS = {
    "the last node": (["-N1", "-n1", f"--nodelist={C}"], [C]),
    "the last two": (["-N2", "-n4", "-r1"], [B, B, C, C]),
}


@pytest.mark.parametrize(("flags", "hosts"), SUBSTEPS.values(), ids=SUBSTEPS)
def test_a_step_may_be_smaller_than_its_job(
    cluster: Slurm, tmp_path: Path, flags: list[str], hosts: list[str]
) -> None:
    cluster.run("salloc", "-N3", "--ntasks-per-node=2", "srun", *flags, *say(tmp_path))
    check(seen(tmp_path), "slurm", hosts)


def test_the_groups_of_a_heterogeneous_job_are_one_world(cluster: Slurm, tmp_path: Path) -> None:
    cluster.run("srun", "-N1", "-n2", *say(tmp_path), ":", "-N2", "-n2", *say(tmp_path))
    check(seen(tmp_path), "slurm", [A, A, B, C])


def test_a_group_of_a_heterogeneous_job_may_be_alone(cluster: Slurm, tmp_path: Path) -> None:
    cluster.run(*("salloc", "-N1", "-n2", ":", "-N2", "-n2"), *("srun", "--het-group=1", *say(tmp_path)))
    check(seen(tmp_path), "slurm", [B, C])


def batch(cluster: Slurm, folder: Path, *lines: str, flags: tuple[str, ...] = ()) -> None:
    """Run a batch script to its end."""
    script = folder / "script.sh"
    script.write_text("\n".join(["#!/bin/bash", *lines, ""]))
    cluster.batch(script, *flags)


def quoted(folder: Path) -> str:
    return " ".join(f"'{word}'" for word in say(folder))


def test_the_tasks_of_an_array_are_jobs_of_their_own(cluster: Slurm, tmp_path: Path) -> None:
    for i in (1, 3, 5):
        (tmp_path / f"task-{i}").mkdir()
    task = quoted(tmp_path).replace(f"'{tmp_path}'", f"{tmp_path}/task-$SLURM_ARRAY_TASK_ID")
    batch(cluster, tmp_path, f"srun {task}", flags=("--array=1-5:2", "-n2"))
    jobs = set()
    for i in (1, 3, 5):
        ranks = seen(tmp_path / f"task-{i}")
        assert len(ranks) == 2
        check(ranks, "slurm")
        jobs |= {one.said["variables"]["JOBKIT_JOB"] for one in ranks}
    assert len(jobs) == 3


def test_a_batch_step_is_no_rank(cluster: Slurm, tmp_path: Path) -> None:
    batch(cluster, tmp_path, quoted(tmp_path), flags=("-N2", "--ntasks-per-node=2"))
    check_no_rank(seen(tmp_path), "batch", "srun")


def test_a_batch_step_submitted_by_a_task_is_no_rank(cluster: Slurm, tmp_path: Path) -> None:
    inner = tmp_path / "inner.sh"
    inner.write_text(f"#!/bin/bash\n{quoted(tmp_path)}\n")
    batch(cluster, tmp_path, f"srun sbatch -n1 {inner}", flags=("-n1",))
    check_no_rank(seen(tmp_path), "srun")


def test_the_shell_of_an_allocation_is_no_rank(cluster: Slurm, tmp_path: Path) -> None:
    # LaunchParameters=use_interactive_step puts a shell into a step, a command that is given stays outside.
    cluster.run("salloc", "-N2", "-n4", *say(tmp_path))
    check_no_rank(seen(tmp_path), "srun")


def test_an_interactive_step_is_no_rank(cluster: Slurm, tmp_path: Path) -> None:
    # The interactive step of an allocation starts the user's SHELL, on a terminal.
    shell = tmp_path / "shell"
    shell.write_text(f"#!/bin/sh\nexec {quoted(tmp_path)}\n")
    shell.chmod(0o755)
    salloc = (sys.executable, "-c", "import pty; pty.spawn(['salloc', '-N2', '-n4'])")
    command = cluster.hosts.command("login", "env", f"SHELL={shell}", *salloc)
    environ = cluster.environ()
    subprocess.run(
        command, stdin=subprocess.DEVNULL, env=environ, timeout=60, check=True, capture_output=True
    )
    check_no_rank(seen(tmp_path), "interactive", "srun")


@pytest.mark.parametrize("name", ["block", "cyclic"])
def test_a_recorded_environment_says_the_same(cluster: Slurm, tmp_path: Path, name: str) -> None:
    cluster.run("srun", *STEPS[name][0], *say(tmp_path))
    ranks = seen(tmp_path)
    check(ranks, "slurm")
    for one in ranks:
        again = subprocess.run(
            ["jobkit", "env", "--json", "--from", str(one.recorded)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(again.stdout)["placement"] == one.said["placement"]


def test_a_process_that_has_left_its_task_only_inherited_its_variables(
    cluster: Slurm, tmp_path: Path
) -> None:
    """As a terminal multiplexer does, which outlives the task that started it."""
    left = f"(sh -c 'sleep 1; {' '.join(say(tmp_path))}' &)"
    cluster.run("srun", "-n1", "sh", "-c", f"{left}; until ls {tmp_path}/*.json; do sleep 0.1; done")
    check_no_rank(seen(tmp_path), "inherited", "srun")
