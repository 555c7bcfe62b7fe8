from __future__ import annotations

import pytest

from jobkit.env.launchers.lsf import detect
from jobkit.env.placement import Facts, Found, NotARank, Placement

RANK = {
    f"JSM_NAMESPACE_{n}": v for n, v in zip(("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE"), "1412", strict=True)
}


def test_a_task_of_jsrun_is_placed() -> None:
    found = detect({**RANK, "LSB_JOBID": "12", "PMIX_NAMESPACE": "4294967286"}, Facts("h1"))
    assert isinstance(found, Found)
    assert found.placement == Placement(1, 4, 1, 2, None, None, (None, "h1", None, None))
    assert found.job == "lsf-12.4294967286"


@pytest.mark.parametrize(
    ("environ", "files", "shown"),
    [
        # The first line of this file is the node of the batch shell, where no task runs.
        ({}, (("LSB_DJOB_RANKFILE", "login\nh1\nh1\nh2\nh2\n"),), "(4 slots on 2 hosts: h1 2, h2 2)"),
        ({}, (("LSB_DJOB_HOSTFILE", "h1\nh2\n"),), "(2 slots on 2 hosts: h1 1, h2 1)"),
        ({"LSB_MCPU_HOSTS": "h1 4 h2 2 "}, (), "(6 slots on 2 hosts: h1 4, h2 2)"),
        ({"LSB_MCPU_HOSTS": "h1 four"}, (), "LSF job 12, which"),
        ({}, (), "LSF job 12, which"),
        ({"LSB_JOBINDEX": "3"}, (), "LSF job 12[3], which"),
    ],
)
def test_a_batch_shell_is_no_rank(
    environ: dict[str, str], files: tuple[tuple[str, str], ...], shown: str
) -> None:
    found = detect({"LSB_JOBID": "12", **environ}, Facts("h1", files=files))
    assert isinstance(found, NotARank)
    assert shown in found.reason
    assert "jobkit launch -- COMMAND, or jsrun" in found.reason
