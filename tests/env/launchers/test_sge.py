from __future__ import annotations

import pytest

from jobkit.env.launchers.sge import detect
from jobkit.env.placement import Facts, NotARank


@pytest.mark.parametrize(("task", "job"), [("undefined", "sge-7"), ("3", "sge-7.3")])
def test_a_batch_shell_is_no_rank_in_an_array_either(task: str, job: str) -> None:
    found = detect({"JOB_ID": "7", "SGE_TASK_ID": task, "NSLOTS": "4"}, Facts("n1"))
    assert isinstance(found, NotARank)
    assert found.job == job


def test_the_hosts_of_a_parallel_environment_are_shown() -> None:
    text = "n1.example.org 2 all.q@n1 UNDEFINED\nn2.example.org 1 all.q@n2 UNDEFINED\nbroken\n"
    found = detect({"JOB_ID": "7", "PE_HOSTFILE": "/f"}, Facts("n1", files=(("PE_HOSTFILE", text),)))
    assert isinstance(found, NotARank)
    assert "(3 slots on 2 hosts: n1.example.org 2, n2.example.org 1)" in found.reason


def test_anybodys_job_id_is_not_its_own() -> None:
    assert detect({"JOB_ID": "7", "SGE_ROOT": "/opt/sge"}, Facts("n1")) is None
