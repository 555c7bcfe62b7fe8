from __future__ import annotations

from pathlib import Path

import pytest

from jobkit.agent.batch import Starter
from jobkit.cli.batch import allocation, check
from jobkit.env.detect import Detection, detect
from jobkit.env.placement import Facts
from jobkit.errors import LaunchError

SALLOC = {
    "SLURM_JOB_ID": "44",
    "SLURM_JOB_NODELIST": "n[1-3]",
    "SLURM_TASKS_PER_NODE": "2(x2),1",
    "PATH": "/bin",
}
SHELL = Detection(None, "a shell", None, ())


def test_pbs_counts_the_lines_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "nodes").write_text("n1\nn1\nn2\nn2\n")
    job = allocation({"PBS_JOBID": "12.s", "PBS_NODEFILE": str(tmp_path / "nodes")}, SHELL)
    assert job is not None
    assert (job.job, job.hosts, job.ranks) == ("pbs-12.s", ("n1", "n2"), (1, 1))
    assert job.starters == (
        Starter(("pbsdsh", "-n", "0", "--"), "0", (0,)),
        Starter(("pbsdsh", "-n", "2", "--"), "1", (1,)),
    )


def test_sge_names_a_host_a_line(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("n1 2 all.q@n1 UNDEFINED\nn2 2 all.q@n2 UNDEFINED\n")
    job = allocation({"JOB_ID": "7", "PE_HOSTFILE": str(tmp_path / "hosts")}, SHELL)
    assert job is not None
    assert (job.job, job.hosts) == ("sge-7", ("n1", "n2"))
    assert job.starters[1].words == ("qrsh", "-inherit", "-nostdin", "n2")


def test_lsf_names_the_host_of_the_shell_first(tmp_path: Path) -> None:
    (tmp_path / "ranks").write_text("launch\nn1\nn1\nn2\n")
    for more in ({"LSB_DJOB_RANKFILE": str(tmp_path / "ranks")}, {"LSB_MCPU_HOSTS": "n1 2 n2 1"}):
        job = allocation({"LSB_JOBID": "3", **more}, SHELL)
        assert job is not None
        assert (job.job, job.hosts, job.starters[1].words) == ("lsf-3", ("n1", "n2"), ("blaunch", "n2"))


def test_slurm_has_one_step_for_all_nodes_and_nothing_of_the_shell_stands_in_its_way() -> None:
    job = allocation({**SALLOC, "SLURM_NTASKS": "3", "SLURM_MPI_TYPE": "pmix", "SLURM_CONF": "/c"}, SHELL)
    assert job is not None
    assert (job.job, job.hosts, job.ranks) == ("slurm-44", ("n1", "n2", "n3"), (2, 2, 1))
    assert (job.environ, job.here) == ({"PATH": "/bin", "SLURM_CONF": "/c"}, False)
    (starter,) = job.starters
    assert (starter.node, starter.nodes) == ("SLURM_NODEID", (0, 1, 2))
    assert {
        "srun",
        "--jobid=44",
        "--overlap",
        "--nodes=3",
        "--ntasks=3",
        "--ntasks-per-node=1",
        "--mpi=none",
    } <= {*starter.words}


def test_an_allocation_that_does_not_say_how_many_tasks_has_one_a_node() -> None:
    job = allocation({name: SALLOC[name] for name in ("SLURM_JOB_ID", "SLURM_JOB_NODELIST")}, SHELL)
    assert job is not None
    assert job.ranks == (1, 1, 1)


@pytest.mark.parametrize(
    ("stale", "words"),
    [
        (
            {"SLURM_TASKS_PER_NODE": "2"},
            r"SLURM_TASKS_PER_NODE=2: contradicts .*\(1 and 3 nodes\)(.|\n)*hint: unset",
        ),
        ({"SLURM_HET_SIZE": "2"}, r"heterogeneous job(.|\n)*hint: srun --het-group=0,1 jobkit exec"),
    ],
)
def test_an_allocation_that_cannot_be_used_is_refused(stale: dict[str, str], words: str) -> None:
    with pytest.raises(LaunchError, match=words):
        allocation({**SALLOC, **stale}, SHELL)


def test_a_rank_inside_such_a_job_is_no_shell(tmp_path: Path) -> None:
    environ = {"JOBKIT_RANK": "0", "JOBKIT_SIZE": "1", "JOBKIT_LOCAL_RANK": "0", "JOBKIT_LOCAL_SIZE": "1"}
    environ |= {"JOBKIT_NODE": "0", "JOBKIT_NODES": "1", "JOBKIT_JOB": "j", "LSB_JOBID": "3"}
    assert allocation(environ, detect(environ, Facts(host="n"))) is None
    assert allocation({}, detect({}, Facts(host="n"))) is None


def test_a_file_that_cannot_be_read_is_named() -> None:
    with pytest.raises(LaunchError, match="PBS_NODEFILE=/no/such: cannot be read"):
        allocation({"PBS_JOBID": "1", "PBS_NODEFILE": "/no/such"}, SHELL)


def test_a_missing_starter_is_refused_with_the_line_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    job = allocation({"LSB_JOBID": "3", "LSB_MCPU_HOSTS": "n1 2 n2 1"}, SHELL)
    assert job is not None
    with pytest.raises(LaunchError, match="blaunch is not on PATH") as caught:
        check(job)
    assert "mpiexec -n 2 jobkit exec -- COMMAND" in str(caught.value)
