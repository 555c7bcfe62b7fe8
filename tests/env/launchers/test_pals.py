from __future__ import annotations

import pytest

from jobkit.env.launchers.pals import detect
from jobkit.env.placement import Facts, Placement
from jobkit.errors import PlacementError

RANK = {
    "PALS_RANKID": "5",
    "PALS_LOCAL_RANKID": "1",
    "PALS_NODEID": "1",
    "PALS_APID": "7f3c",
    "PMI_RANK": "5",
    "PMI_SIZE": "8",
    "PMI_LOCAL_SIZE": "4",
}


def test_a_rank_is_placed() -> None:
    found = detect(RANK, Facts("b"))
    assert found is not None
    assert found.placement == Placement(5, 8, 1, 4, 1, None, (None,) * 5 + ("b", None, None))
    assert found.job == "pals-7f3c"


@pytest.mark.parametrize("other", ["SLURM_PROCID", "FLUX_TASK_RANK"])
def test_others_that_set_its_variables_say_more_themselves(other: str) -> None:
    assert detect({**RANK, other: "5"}, Facts("b")) is None
    assert detect({**RANK, other: "1"}, Facts("b")) is not None


def test_its_own_local_size_comes_first() -> None:
    found = detect({**RANK, "PALS_LOCAL_SIZE": "2"}, Facts("b"))
    assert found is not None
    assert (found.placement.local_size, dict(found.sources)["local_size"]) == (2, "PALS_LOCAL_SIZE")


def test_without_a_local_size_only_the_others_can_tell() -> None:
    environ = {name: value for name, value in RANK.items() if name != "PMI_LOCAL_SIZE"}
    found = detect(environ, Facts("b"))
    assert found is not None
    assert found.placement.local_size is None


def test_another_rank_of_pmi_is_a_contradiction() -> None:
    with pytest.raises(PlacementError, match="PALS_RANKID=5: contradicts PMI_RANK=4"):
        detect({**RANK, "PMI_RANK": "4"}, Facts("b"))
