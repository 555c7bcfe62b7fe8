from __future__ import annotations

import pytest

from jobkit.env.launchers.openmpi import detect
from jobkit.env.placement import Facts, Found, NotARank, Placement
from jobkit.errors import PlacementError

HERE = Facts(host="a")
RANK = {
    "OMPI_COMM_WORLD_RANK": "2",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "OMPI_COMM_WORLD_NODE_RANK": "7",
    "PMIX_RANK": "2",
    "PMIX_NAMESPACE": "prterun-a-28101@1",
}


def test_of_several_nodes_a_rank_knows_only_its_own() -> None:
    found = detect(RANK, HERE)
    assert isinstance(found, Found)
    assert found.placement == Placement(2, 4, 0, 2, None, None, (None, None, "a", None))
    assert (found.job, found.first_host) == ("openmpi-prterun-a-28101@1", None)


def test_on_one_node_everything_is_known() -> None:
    found = detect({**RANK, "OMPI_COMM_WORLD_LOCAL_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "2"}, HERE)
    assert isinstance(found, Found)
    assert found.placement == Placement(2, 4, 2, 4, 0, 1, ("a",) * 4)


def test_the_namespace_of_an_srun_around_it_is_not_its_job() -> None:
    around = {"PMIX_NAMESPACE": "slurm.pmix.21.4", "PMIX_RANK": "0", "OMPI_MCA_ess_base_jobid": "1736179713"}
    found = detect({**RANK, **around}, HERE)
    assert isinstance(found, Found)
    assert found.job == "openmpi-1736179713"


def test_another_rank_of_pmix_is_a_contradiction_and_both_are_printed() -> None:
    with pytest.raises(PlacementError, match="OMPI_COMM_WORLD_RANK=2: contradicts PMIX_RANK=1"):
        detect({**RANK, "PMIX_RANK": "1"}, HERE)


def test_prterun_alone_does_not_say_how_many_there_are() -> None:
    found = detect({"PRTE_LAUNCHED": "1", "PMIX_RANK": "1", "PMIX_NAMESPACE": "prterun-a-1@1"}, HERE)
    assert isinstance(found, NotARank)
    assert "start it with mpirun of Open MPI" in found.reason


def test_half_of_its_variables_name_the_one_that_is_missing() -> None:
    with pytest.raises(PlacementError, match="OMPI_COMM_WORLD_RANK: not set"):
        detect({"OMPI_COMM_WORLD_SIZE": "2"}, HERE)
