from __future__ import annotations

import pytest

from jobkit.env.launchers.mpich import detect
from jobkit.env.placement import Facts, Found, NotARank, Placement

HERE = Facts("a", ancestors=((9, "python3"), (7, "hydra_pmi_proxy"), (6, "mpiexec"), (1, "init")))
RANK = {"PMI_RANK": "1", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}


def test_of_several_nodes_a_rank_knows_only_its_own() -> None:
    found = detect(RANK, HERE)
    assert isinstance(found, Found)
    assert found.placement == Placement(1, 4, 1, 2, None, None, (None, "a", None, None))
    assert found.job == ""


def test_on_one_node_the_process_that_started_all_ranks_is_the_job() -> None:
    found = detect({**RANK, "PMI_SIZE": "2"}, HERE)
    assert isinstance(found, Found)
    assert found.placement == Placement(1, 2, 1, 2, 0, 1, ("a", "a"))
    assert found.job == "mpich-a-7"


def test_in_slurm_the_step_of_its_proxies_is_the_job() -> None:
    found = detect({**RANK, "SLURM_JOB_ID": "21", "SLURM_STEP_ID": "1"}, HERE)
    assert isinstance(found, Found)
    assert found.job == "mpich-slurm-21.1"


def test_intel_mpi_names_its_job() -> None:
    found = detect({**RANK, "I_MPI_HYDRA_UUID": "0044-0abc"}, HERE)
    assert isinstance(found, Found)
    assert found.job == "mpich-0044-0abc"


def test_gforker_starts_all_ranks_on_its_host() -> None:
    found = detect({"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_UNIVERSE_SIZE": "-1"}, Facts("a"))
    assert isinstance(found, Found)
    assert found.placement == Placement(1, 2, 1, 2, 0, 1, ("a", "a"))


@pytest.mark.parametrize("other", ["SLURM_STEP_ID", "FLUX_TASK_RANK", "PALS_RANKID"])
def test_others_that_speak_pmi_say_more_themselves(other: str) -> None:
    assert detect({"PMI_RANK": "1", "PMI_SIZE": "4", other: "0"}, HERE) is None


def test_a_launcher_that_does_not_tell_who_shares_a_node_is_refused() -> None:
    found = detect({"PMI_RANK": "1", "PMI_SIZE": "4"}, HERE)
    assert isinstance(found, NotARank)
    assert "PMI_RANK=1 and PMI_SIZE=4 without MPI_LOCALRANKID" in found.reason
