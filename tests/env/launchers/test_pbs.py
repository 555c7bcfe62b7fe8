from __future__ import annotations

from jobkit.env.launchers.pbs import detect
from jobkit.env.placement import Facts, NotARank

SHELL = {"PBS_JOBID": "12.server", "PBS_ENVIRONMENT": "PBS_BATCH", "PBS_NODENUM": "0", "PBS_TASKNUM": "1"}


def test_a_batch_shell_is_no_rank_though_it_is_numbered() -> None:
    found = detect(SHELL, Facts("n1", files=(("PBS_NODEFILE", "n1\nn1\nn2\nn2\n"),)))
    assert isinstance(found, NotARank)
    assert "(4 slots on 2 hosts: n1 2, n2 2)" in found.reason


def test_what_qsub_leaves_of_the_submitting_host_is_nothing() -> None:
    assert detect({"PBS_O_HOST": "login", "PBS_DEFAULT": "server"}, Facts("n1")) is None
