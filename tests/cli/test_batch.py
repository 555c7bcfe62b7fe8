from __future__ import annotations

from pathlib import Path

import pytest

from jobkit.cli.batch import allocation, check
from jobkit.env.detect import Detection, detect
from jobkit.env.placement import Facts
from jobkit.errors import LaunchError

SHELL = Detection(None, "a shell", None, ())


def test_pbs_counts_the_lines_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "nodes").write_text("n1\nn1\nn2\nn2\n")
    job = allocation({"PBS_JOBID": "12.s", "PBS_NODEFILE": str(tmp_path / "nodes")}, SHELL)
    assert job is not None
    assert (job.job, job.hosts) == ("pbs-12.s", ("n1", "n2"))
    assert job.starters == (("pbsdsh", "-n", "0", "--"), ("pbsdsh", "-n", "2", "--"))


def test_sge_names_a_host_a_line(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("n1 2 all.q@n1 UNDEFINED\nn2 2 all.q@n2 UNDEFINED\n")
    job = allocation({"JOB_ID": "7", "PE_HOSTFILE": str(tmp_path / "hosts")}, SHELL)
    assert job is not None
    assert (job.job, job.hosts) == ("sge-7", ("n1", "n2"))
    assert job.starters[1] == ("qrsh", "-inherit", "-nostdin", "n2")


def test_lsf_names_the_host_of_the_shell_first(tmp_path: Path) -> None:
    (tmp_path / "ranks").write_text("launch\nn1\nn1\nn2\n")
    for more in ({"LSB_DJOB_RANKFILE": str(tmp_path / "ranks")}, {"LSB_MCPU_HOSTS": "n1 2 n2 1"}):
        job = allocation({"LSB_JOBID": "3", **more}, SHELL)
        assert job is not None
        assert (job.job, job.hosts, job.starters[1]) == ("lsf-3", ("n1", "n2"), ("blaunch", "n2"))


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
