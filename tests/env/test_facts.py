from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jobkit.env.facts import facts
from jobkit.errors import LaunchError


def test_the_host_is_this_one() -> None:
    assert facts({}).host == os.uname().nodename


def test_a_hostfile_gives_a_host_per_rank(tmp_path: Path) -> None:
    path = tmp_path / "hosts.json"
    path.write_text('[["10.0.0.1:5000", "10.0.1.1:5000"], ["name:5000"], ["[::1]:5000"]]')
    assert facts({"MLX_HOSTFILE": str(path)}).hostfile_hosts == ("10.0.0.1", "name", "[::1]")


@pytest.mark.parametrize("text", ["", "not JSON", "7", '[["a:1"], []]', '{"hosts": 1}'])
def test_a_file_of_another_shape_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "hosts.json"
    path.write_text(text)
    with pytest.raises(LaunchError, match=f"MLX_HOSTFILE={path}: not a hostfile"):
        facts({"MLX_HOSTFILE": str(path)})


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(LaunchError, match="MLX_HOSTFILE=/no/such/file: not a hostfile"):
        facts({"MLX_HOSTFILE": "/no/such/file"})


def test_without_a_launchers_variables_nothing_is_read() -> None:
    known = facts({"PATH": "/bin"})
    assert (known.ancestors, known.contained, known.cgroup, known.terminal, known.files) == (None,) * 4 + (
        (),
    )


def test_with_them_the_processes_above_are_read_this_one_first() -> None:
    known = facts({"PMI_RANK": "0"})
    assert known.ancestors is not None
    assert [pid for pid, _ in known.ancestors[:2]] == [os.getpid(), os.getppid()]
    assert known.ancestors[0][1] == Path("/proc/self/comm").read_text().strip()
    assert known.cgroup == Path("/proc/self/cgroup").read_text()
    assert known.terminal is False


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["bash", "-c", "{} ; true"], "bash -c"),
        (["bash"], "bash"),
        (["bash", "--norc"], "bash"),
        (["bash", "SCRIPT"], "bash -c"),
    ],
)
def test_a_shell_that_was_given_its_commands_is_told_from_one_that_reads_them(
    words: list[str], shown: str, tmp_path: Path
) -> None:
    program = "from jobkit.env.facts import facts; print(facts({'PMI_RANK': ''}).ancestors[1][1])"
    command = f'{sys.executable} -c "{program}"; true'
    (tmp_path / "script").write_text(command)
    given = [word.format(command).replace("SCRIPT", str(tmp_path / "script")) for word in words]
    ran = subprocess.run(given, input=command, capture_output=True, text=True, timeout=60)
    assert ran.stdout == f"{shown}\n", ran.stderr


def test_no_command_of_a_process_above_is_kept_for_it_may_hold_a_password() -> None:
    program = "from jobkit.env.facts import facts; print(facts({'PMI_RANK': ''}))"
    script = f'{sys.executable} -c "{program}"; : sesame'
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert "bash -c" in ran.stdout
    assert "sesame" not in ran.stdout


def test_files_that_variables_name_are_read(tmp_path: Path) -> None:
    path = tmp_path / "nodes"
    path.write_bytes(b"n1\nn\xff\n")
    assert facts({"PBS_NODEFILE": str(path)}).files == (("PBS_NODEFILE", "n1\nn\ufffd\n"),)


def test_a_file_that_cannot_be_read_is_absent_and_one_without_an_end_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in ("/no/such/file", str(tmp_path), str(tmp_path / "pipe"), "a\0b", ""):
        assert dict(facts({"PE_HOSTFILE": path}).files).get("PE_HOSTFILE", "") == ""
    assert len(facts({"PE_HOSTFILE": "/dev/zero"}).files[0][1]) <= 1 << 20
    assert facts({"JOB_COMPLETION_INDEX": "0"}).files[0][0] == "/etc/hosts"


def test_a_container_that_holds_the_daemon_of_a_cluster_holds_its_ranks(tmp_path: Path) -> None:
    """In a process namespace of its own a launcher is not seen, unless its daemon is there too."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a process namespace needs root and unshare")
    daemon = tmp_path / "slurmd"
    shutil.copy("/bin/sleep", daemon)
    program = "from jobkit.env.facts import facts; print(facts({'SLURM_JOB_ID': '7'}).contained)"
    words = f'{sys.executable} -c "{program}"'
    inside = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c")
    for script, expected in ((f"{words}; true", "True\n"), (f"{daemon} 60 & {words}; kill $!", "False\n")):
        ran = subprocess.run([*inside, script], capture_output=True, text=True, timeout=60)
        assert ran.stdout == expected, ran.stderr
