from __future__ import annotations

from jobkit.env.launchers.mvapich2 import detect
from jobkit.env.placement import Facts, Placement

NAMES = ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")
RANK = {f"MV2_COMM_WORLD_{name}": value for name, value in zip(NAMES, "3412", strict=True)}


def test_a_rank_is_placed() -> None:
    found = detect({**RANK, "PMI_PORT": "login:40001"}, Facts("b"))
    assert found is not None
    assert found.placement == Placement(3, 4, 1, 2, None, None, (None, None, None, "b"))
    assert found.job == "mvapich2-login:40001"


def test_without_its_port_the_job_has_no_name() -> None:
    found = detect(RANK, Facts("b"))
    assert found is not None
    assert found.job == ""
