from __future__ import annotations

from pathlib import Path

import pytest

from jobkit.env import launchers
from jobkit.env.detect import DETECTORS, NO_LAUNCHER, detect, detector
from jobkit.env.placement import Facts, Placement
from jobkit.errors import PlacementError

HERE = Facts(host="node-1")
PLACED = {
    "JOBKIT_RANK": "1",
    "JOBKIT_SIZE": "2",
    "JOBKIT_LOCAL_RANK": "1",
    "JOBKIT_LOCAL_SIZE": "2",
    "JOBKIT_NODE": "0",
    "JOBKIT_NODES": "1",
}


def test_every_file_of_the_folder_is_a_detector() -> None:
    folder = Path(next(iter(launchers.__path__)))
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "read", "batch"}
    assert files == set(DETECTORS)


@pytest.mark.parametrize("name", DETECTORS)
def test_an_empty_environment_is_nobodys(name: str) -> None:
    assert detector(name)({}, HERE) is None


def test_no_launcher_is_rank_0_of_1() -> None:
    found = detect({}, HERE)
    assert (found.launcher, found.reason) == (None, NO_LAUNCHER)
    assert found.placement == Placement(0, 1, 0, 1, 0, 1, ("node-1",))
    assert found.evidence == tuple((name, "not found") for name in DETECTORS)


def test_jobkit_wins_over_the_variables_that_it_sets() -> None:
    found = detect({**PLACED, "RANK": "7", "WORLD_SIZE": "8"}, HERE)
    assert (found.launcher, found.reason) == ("jobkit", "jobkit says rank 1 of 2")
    said = {name: answer for name, answer in found.evidence if answer != "not found"}
    assert said == {"jobkit": "rank 1 of 2", "env": "rank 7 of 8"}


RANK = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4"}
OPENMPI = {**RANK, "OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}
HYDRA = {"PMI_RANK": "0", "PMI_SIZE": "2", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "2"}


def above(*names: str) -> Facts:
    return Facts("a", ancestors=tuple((90 - i, name) for i, name in enumerate(("python3", *names, "init"))))


@pytest.mark.parametrize(
    ("facts", "launcher"),
    [
        (above("hydra_pmi_proxy", "mpiexec", "bash", "prterun"), "mpich"),
        (above("prted", "python3", "hydra_pmi_proxy", "mpiexec"), "openmpi"),
        # Debian's name of it.
        (above("mpirun.openmpi", "hydra_pmi_proxy"), "openmpi"),
    ],
)
def test_the_nearest_process_tells_which_of_two_launchers_started_this_one(
    facts: Facts, launcher: str
) -> None:
    found = detect({**OPENMPI, **HYDRA}, facts)
    assert found.launcher == launcher
    assert "above this process" in found.reason


def test_two_that_disagree_are_both_printed_where_nothing_tells_which_is_inner() -> None:
    with pytest.raises(PlacementError, match=r"(?s)openmpi says rank 1 of 4 .*mpich says rank 0 of 2"):
        detect({**OPENMPI, **HYDRA}, HERE)


def test_two_that_agree_are_the_first_of_them() -> None:
    same = {**HYDRA, "PMI_RANK": "1", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1"}
    assert detect({**OPENMPI, **same}, HERE).launcher == "openmpi"


SLURM = {
    "SLURM_JOB_ID": "44",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "0",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_NODELIST": "a",
    "SLURM_STEP_TASKS_PER_NODE": "2",
}


@pytest.mark.parametrize("facts", [HERE, above("slurmstepd: [44.0]")])
def test_plain_variables_in_a_task_say_the_same_or_are_a_contradiction(facts: Facts) -> None:
    """A script may set them from Slurm's; or start ranks of its own inside a task, which Slurm knows not."""
    assert detect({**SLURM, "RANK": "1", "WORLD_SIZE": "2"}, facts).launcher == "slurm"
    with pytest.raises(
        PlacementError, match=r"slurm says rank 1 of 2 \(SLURM_PROCID, .*env says rank 5 of 8 \(RANK, "
    ):
        detect({**SLURM, "RANK": "5", "WORLD_SIZE": "8"}, facts)


def test_a_batch_shell_is_nearer_than_a_launcher_whose_variables_it_inherited() -> None:
    batch = {**OPENMPI, "SLURM_JOB_ID": "45", "SLURM_PROCID": "0"}
    found = detect(batch, above("bash -c", "slurmstepd: [45.batch]"))
    assert (found.launcher, found.placement) == (None, None)
    assert "the batch step of a job" in found.reason


def test_variables_set_by_hand_in_a_batch_shell_count() -> None:
    batch = {"RANK": "1", "WORLD_SIZE": "2", "SLURM_JOB_ID": "45", "SLURM_PROCID": "0"}
    assert detect(batch, above("bash -c", "slurmstepd: [45.batch]")).launcher == "env"


def test_malformed_variables_of_an_outer_launcher_do_not_count_and_are_evidence() -> None:
    found = detect({**PLACED, **OPENMPI, "OMPI_COMM_WORLD_SIZE": "many"}, HERE)
    assert found.launcher == "jobkit"
    assert dict(found.evidence)["openmpi"].startswith("OMPI_COMM_WORLD_SIZE: not a count, got 'many'")
    with pytest.raises(PlacementError, match="OMPI_COMM_WORLD_SIZE"):
        detect({**OPENMPI, "OMPI_COMM_WORLD_SIZE": "many"}, HERE)


def test_a_launcher_inside_a_rank_of_jobkit_is_newer_than_the_rank() -> None:
    outer = {"JOBKIT_OUTER": "env=RANK:1 env=WORLD_SIZE:2"}
    inside = {**PLACED, **outer, "RANK": "1", "WORLD_SIZE": "2"}
    assert detect(inside, HERE).launcher == "jobkit"
    assert detect({**inside, "MLX_RANK": "0", "MLX_WORLD_SIZE": "2"}, HERE).launcher == "env"
    assert detect({**inside, **OPENMPI}, HERE).launcher == "openmpi"
    assert detect({**PLACED, **OPENMPI}, HERE).launcher == "jobkit"


SAMPLES: dict[str, dict[str, str]] = {
    "torchrun": {
        "TORCHELASTIC_RUN_ID": "none",
        "RANK": "1",
        "WORLD_SIZE": "2",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "0",
        "GROUP_WORLD_SIZE": "1",
    },
    "openmpi": OPENMPI,
    "mpich": HYDRA,
    "flux": dict(
        zip(("FLUX_TASK_RANK", "FLUX_JOB_SIZE", "FLUX_TASK_LOCAL_ID", "FLUX_JOB_NNODES"), "0201", strict=True)
    ),
    "dstack": {"DSTACK_NODE_RANK": "0", "DSTACK_NODES_NUM": "1", "DSTACK_NODES_IPS": "10.0.0.4"},
    "kubernetes": {"JOB_COMPLETION_INDEX": "0", "JOBKIT_NODES": "1"},
}
NOT_NUMBERS = ("DSTACK_NODES_IPS", "TORCHELASTIC_RUN_ID")
NUMBERS = [(sample, name) for sample in SAMPLES.values() for name in sample if name not in NOT_NUMBERS]


@pytest.mark.parametrize("value", ["", "x", "-1", "1e3", "999999999999999999999"])
@pytest.mark.parametrize(("sample", "name"), NUMBERS, ids=[name for _, name in NUMBERS])
def test_a_variable_that_is_no_number_is_named_with_its_value(
    sample: dict[str, str], name: str, value: str
) -> None:
    with pytest.raises(
        PlacementError, match=rf"^{name}: not a count, got '{value}', expected an integer"
    ) as caught:
        detect({**sample, name: value}, HERE)
    assert "hint: " in str(caught.value)
    assert caught.value.exit_status == 2
