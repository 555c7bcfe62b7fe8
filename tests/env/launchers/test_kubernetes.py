from __future__ import annotations

import pytest

from jobkit.env.launchers.kubernetes import detect
from jobkit.env.placement import Facts, Found, NotARank, Placement
from jobkit.errors import PlacementError

HOSTS = "127.0.0.1 localhost\n10.8.0.7 train-2.train.default.svc.cluster.local train-2\n"
POD = Facts("train-2", files=(("/etc/hosts", HOSTS),))


def test_a_pod_is_a_rank_once_their_number_is_given() -> None:
    found = detect({"JOB_COMPLETION_INDEX": "2", "JOBKIT_NODES": "4"}, POD)
    assert isinstance(found, Found)
    assert found.placement == Placement(2, 4, 0, 1, 2, 4, (None, None, "train-2", None))
    assert found.job == "kubernetes-train"
    assert found.first_host == "train-0.train.default.svc.cluster.local"


def test_kubernetes_does_not_say_how_many_pods_there_are() -> None:
    found = detect({"JOB_COMPLETION_INDEX": "2"}, POD)
    assert isinstance(found, NotARank)
    assert '- {name: JOBKIT_NODES, value: "4"}' in found.reason


def test_without_a_subdomain_the_first_pod_has_no_name() -> None:
    found = detect({"JOB_COMPLETION_INDEX": "2", "JOBKIT_NODES": "4"}, Facts("train-2"))
    assert isinstance(found, Found)
    assert found.first_host is None


def test_in_a_job_set_the_index_starts_anew_in_each_job() -> None:
    environ = {
        "JOB_COMPLETION_INDEX": "1",
        "JOBKIT_NODES": "6",
        "JOBSET_JOB_GLOBAL_INDEX": "2",
        "JOBSET_GLOBAL_REPLICAS": "3",
        "JOBSET_COORDINATOR": "train-workers-0-0.train",
        "JOBSET_RESTART_ATTEMPT": "1",
    }
    found = detect(environ, Facts("train-workers-2-1"))
    assert isinstance(found, Found)
    assert (found.placement.rank, found.placement.size) == (5, 6)
    assert (found.first_host, found.attempt) == ("train-workers-0-0.train", 2)
    with pytest.raises(PlacementError, match="JOBKIT_NODES=7: contradicts JOBSET_GLOBAL_REPLICAS=3"):
        detect({**environ, "JOBKIT_NODES": "7"}, Facts("a"))


@pytest.mark.parametrize("role", ["launcher", "worker"])
def test_a_pod_of_the_mpi_operator_is_no_rank(role: str) -> None:
    found = detect({"K_MPI_JOB_ROLE": role, "OMPI_MCA_orte_default_hostfile": "/etc/mpi/hostfile"}, POD)
    assert isinstance(found, NotARank)
    assert "mpirun -n N jobkit exec" in found.reason
