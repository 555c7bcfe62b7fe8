from __future__ import annotations

from jobkit.env.launchers.batch import refusal


def test_it_names_the_kind_the_size_and_the_remedy() -> None:
    said = refusal("PBS", "PBS_JOBID", "12.s", {"n1": 2, "n2": 1}, "mpiexec")
    assert said.reason == (
        "PBS_JOBID=12.s: the shell of PBS job 12.s (3 slots on 2 hosts: n1 2, n2 1), which is no rank; "
        "start the ranks with jobkit launch -- COMMAND, or mpiexec"
    )
    assert said.job == "pbs-12.s"


def test_of_many_hosts_a_few_are_shown() -> None:
    said = refusal("SGE", "JOB_ID", "1", {f"n{i}": 1 for i in range(9)}, "x")
    assert "(9 slots on 9 hosts: n0 1, n1 1, n2 1, n3 1, …)" in said.reason
