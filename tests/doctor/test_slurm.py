"""What the doctor makes of Slurm's answers."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jobkit.doctor import slurm
from jobkit.doctor.row import FAILS, OK, WARNING, Question
from jobkit.plan import Plan
from jobkit.slurm.client import Answer

Plans = Callable[..., Plan]
KINDS = "MPI plugin types are...\n\tpmix\n\tnone\n\tpmi2\nspecific pmix plugin versions available: pmix_v4\n"
PARTITIONS = (
    "PartitionName=main Default=YES MaxNodes=4 MaxTime=1-00:00:00 State=UP\n"
    "PartitionName=old Default=NO MaxNodes=UNLIMITED MaxTime=UNLIMITED State=DOWN\n"
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1-02:00:30", 93630), ("00:30:00", 1800), ("UNLIMITED", None), ("NONE", None)],
)
def test_limits_are_read(text: str, seconds: int | None) -> None:
    assert slurm.limit_s(text) == seconds


@pytest.mark.parametrize(
    ("line", "state", "found"),
    [
        ("backend: ring", OK, "pmix, pmi2"),
        ("slurm: {srun: {mpi: pmix_v4}}", OK, "pmix, pmi2"),
        ("slurm: {srun: {mpi: none}}", OK, "pmix, pmi2"),
        ("slurm: {srun: {mpi: pmi3}}", FAILS, "srun has no pmi3, but pmix, pmi2"),
    ],
)
@pytest.mark.parametrize("stream", ["out", "err"])
def test_kinds_of_mpi(plan: Plans, line: str, state: str, found: str, stream: str) -> None:
    answer = Answer(0, KINDS, "") if stream == "out" else Answer(0, "", KINDS)
    row = slurm.kinds_of_mpi(plan(line), answer)
    assert (row.state, row.found) == (state, found)


def test_a_cluster_without_mpi_fails_a_spec_that_wants_it(plan: Plans) -> None:
    answer = Answer(0, "MPI plugin types are...\n\tnone\n", "")
    assert slurm.kinds_of_mpi(plan("backend: mpi", "slurm: {srun: {mpi: none}}"), answer).state == FAILS
    assert slurm.kinds_of_mpi(plan("backend: ring"), answer).state == OK


@pytest.mark.parametrize(
    ("line", "state", "words"),
    [
        ("time: 24h", OK, "main (MaxTime 1-00:00:00, MaxNodes 4)"),
        ("time: 25h", FAILS, "MaxTime=1-00:00:00"),
        ("nodes: 5", FAILS, "MaxNodes=4"),
        ("slurm: {partition: old}", FAILS, "old is DOWN"),
        ("slurm: {partition: nope}", FAILS, "no partition nope; there are main, old"),
    ],
)
def test_limits_of_the_partition(plan: Plans, line: str, state: str, words: str) -> None:
    row = slurm.partition(plan(line), Answer(0, PARTITIONS, ""))
    assert (row.state, words in row.found) == (state, True), row


def test_a_sweep_may_have_more_points_than_an_array(plan: Plans) -> None:
    sweep = plan("sweep: {a: [1, 2, 3]}")
    rows = {most: list(slurm.features(sweep, {"MaxArraySize": most}))[-1].state for most in ("2", "3")}
    assert rows == {"2": FAILS, "3": OK}


@pytest.mark.parametrize(
    ("kind", "state"), [("proctrack/cgroup", OK), ("proctrack/linuxproc", WARNING), ("", WARNING)]
)
def test_only_a_cgroup_holds_every_process(kind: str, state: str) -> None:
    assert slurm.tracking(kind).state == state


@pytest.mark.parametrize(("mode", "state"), [("OFF", WARNING), ("CANCEL", WARNING), ("GANG,REQUEUE", OK)])
def test_retries_after_preemption_need_slurm_to_queue_again(mode: str, state: str, plan: Plans) -> None:
    made = plan("nodes: 1")
    asked = replace(made, retries=replace(made.retries, preempted=1))
    assert slurm.preemption(asked, mode).state == state
    assert slurm.preemption(made, mode).state == OK


def test_without_slurm_here_one_row_says_so(
    plan: Plans, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (row,) = slurm.checks(Question(os.environ, plan("nodes: 1")))
    assert (row.state, row.found) == (FAILS, "sbatch: no such program on this machine")
