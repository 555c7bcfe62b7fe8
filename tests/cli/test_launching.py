from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from jobkit.agent.request import Request
from jobkit.cli import launch
from jobkit.cli.launching import Hosts, hosts, read_hostfile, request, variables
from jobkit.errors import JobkitError, SpecError


def asked(*words: str, environ: dict[str, str] | None = None) -> Request:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    launch.add_arguments(parser)
    args = parser.parse_args(words)
    return request(args, hosts(args), environ or {"PATH": "/bin"}, "/here", terminal=False)


def test_n_is_ranks_per_host() -> None:
    assert asked("-n", "3", "true").size == 3
    assert asked("--repeat-hosts", "2", "--hosts", "127.0.0.1,localhost", "true").size == 4
    assert asked("true").size == 1


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["-n", "2", "python", "x.py", "-n", "3"], ("python", "x.py", "-n", "3")),
        (["-n", "2", "--", "python", "--verbose"], ("python", "--verbose")),
        (["--verbose", "--env", "A=1", "a", "--", "b"], ("a", "--", "b")),
        (["--python", "/p/python", "x.py"], ("/p/python", "x.py")),
        (["--", "--", "x"], ("--", "x")),
    ],
)
def test_flags_end_at_the_first_word_of_the_command(words: list[str], command: tuple[str, ...]) -> None:
    assert asked(*words).command == command


def test_a_python_file_that_cannot_be_run_as_it_stands_is_given_to_python(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("")
    (tmp_path / "x.py").write_text("")
    (tmp_path / "x.py").chmod(0o755)
    folder = ("--cwd", str(tmp_path))
    assert asked(*folder, "a.py", "b").command == (sys.executable, "a.py", "b")
    assert asked(*folder, "./a.py").command == (sys.executable, "./a.py")
    assert asked(*folder, "x.py").command == (sys.executable, "x.py")
    assert asked(*folder, "./x.py").command == ("./x.py",)
    assert asked(*folder, "gone.py").command == ("gone.py",)


def test_every_flag_of_mlx_launch_is_taken() -> None:
    found = asked(
        *("--verbose", "--hosts", "127.0.0.1", "--backend", "ring", "--env", "A=b=c", "--mpi-arg", "x"),
        *(
            "--connections-per-ip",
            "2",
            "-p",
            "5000",
            "--cwd",
            "sub",
            "--nccl-port",
            "7",
            "--env",
            "EMPTY",
            "true",
        ),
    )
    assert found.overlay == {"A": "b=c", "EMPTY": "", "MLX_RING_VERBOSE": "1", "NCCL_DEBUG": "INFO"}
    assert (found.backend, found.connections_per_ip, found.ports) == (("ring",), 2, (5000, 65535))
    assert (found.workdir, found.nccl_port) == ("/here/sub", 7)


def test_ranks_start_from_a_scrubbed_environment() -> None:
    assert asked("true", environ={"A": "b", "MLX_RANK": "3", "SLURM_PROCID": "1"}).environ == {"A": "b"}


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ([], SpecError, "no command to run"),
        (["-n", "2", "--"], SpecError, "no command to run"),
        (["-n", "0", "true"], SpecError, "-n: not a count, got 0"),
        (["-n", "-1", "true"], SpecError, "-n: not a count, got -1"),
        (["-n", "99999999999", "true"], SpecError, "-n: too many, got 99999999999"),
        (["--hosts", "a,,b", "true"], SpecError, "--hosts: an empty name"),
        (["--hosts", "a", "--hostfile", "f", "true"], SpecError, "cannot be given together"),
        (["--hosts", "a:70000", "true"], SpecError, "not a port"),
        (["--hosts", "me@a:ssh", "true"], SpecError, "not a port"),
        (["--hosts", "a:", "true"], SpecError, "not a port"),
        (["--hosts=-oProxyCommand=id", "true"], SpecError, "--hosts: not a host's name"),
        (["--hosts", "a;id", "true"], SpecError, "--hosts: not a host's name"),
        (["--backend", "tcp", "true"], SpecError, "--backend: unknown name, got 'tcp'"),
        (["--env", "A-B=1", "true"], SpecError, "--env: not a variable's name"),
        (["--env", "=1", "true"], SpecError, "--env: not a variable's name"),
        (["--env", "MLX_RANK=4", "true"], SpecError, "--env: jobkit sets it in every rank, got 'MLX_RANK'"),
        (["--backend", "", "true"], SpecError, "--backend: unknown name, got ''"),
        (["--connections-per-ip", "0", "true"], SpecError, "--connections-per-ip: not a count"),
        (["-p", "70000", "true"], SpecError, "--starting-port: not a port"),
        (["--stdin", "5", "true"], SpecError, "--stdin: nobody, got '5'"),
    ],
)
def test_what_cannot_be_used_is_refused(words: list[str], error: type[JobkitError], message: str) -> None:
    with pytest.raises(error) as caught:
        asked(*words)
    assert message in str(caught.value)


def test_a_list_of_hosts_is_a_rank_an_entry(tmp_path: Path) -> None:
    path = tmp_path / "hosts.json"
    path.write_text(json.dumps([{"ssh": "127.0.0.1", "ips": ["127.0.0.1"]}, {"ssh": os.uname().nodename}]))
    assert asked("--hostfile", str(path), "-n", "5", "true").size == 2


def test_a_mapping_brings_backend_and_variables(tmp_path: Path) -> None:
    path = tmp_path / "hosts.json"
    content = {"backend": "ring", "envs": ["A=1", "B=1"], "hosts": [{"ssh": "localhost"}]}
    path.write_text(json.dumps(content))
    assert read_hostfile(str(path)) == Hosts(("localhost",), "ring", ("A=1", "B=1"))
    path.write_text(json.dumps([{"ssh": "h1", "ips": ["10.0.0.1", "10.0.1.1"]}, {"ssh": "h2"}]))
    assert read_hostfile(str(path)) == Hosts(("h1", "h2"))  # not all have an address
    path.write_text(json.dumps([{"ssh": f"h{i}", "ips": ["127.0.0.1", f"10.0.0.{i}"]} for i in (1, 2)]))
    assert read_hostfile(str(path)) == Hosts(("h1", "h2"), addresses=(("10.0.0.1",), ("10.0.0.2",)))
    path.write_text(json.dumps(content))
    found = asked("--hostfile", str(path), "--env", "B=2", "true")
    assert (found.backend, found.overlay) == (("ring",), {"A": "1", "B": "2"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not JSON", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a hostfile"),
        ("7", "not a hostfile"),
        ('{"hosts": 3}', "not a hostfile"),
        ('[{"ips": ["127.0.0.1"]}]', "host 0: no host name"),
        ('["a"]', "host 0: no host name"),
        ('{"envs": "A=1", "hosts": [{"ssh": "a"}]}', "envs: not a list"),
    ],
)
def test_a_hostfile_of_another_shape_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "hosts.json"
    path.write_text(content)
    with pytest.raises(SpecError) as caught:
        read_hostfile(str(path))
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"backend": "tcp", "hosts": [{"ssh": "127.0.0.1"}]}', "backend: unknown name, got 'tcp'"),
        ('{"envs": ["=x"], "hosts": [{"ssh": "127.0.0.1"}]}', "envs: not a variable's name, got '=x'"),
    ],
)
def test_what_a_hostfile_says_wrongly_is_not_blamed_on_a_flag(
    tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "hosts.json"
    path.write_text(content)
    with pytest.raises(SpecError) as caught:
        asked("--hostfile", str(path), "true")
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_hostfile_without_an_end_is_not_read_for_ever() -> None:
    with pytest.raises(SpecError, match="/dev/zero: not JSON"):
        read_hostfile("/dev/zero")


def test_a_hostfile_that_is_not_there_is_named() -> None:
    with pytest.raises(SpecError, match="/no/such/file: cannot be read"):
        read_hostfile("/no/such/file")


def test_a_later_setting_wins() -> None:
    settings: Any = ["A=1", "A=2"]
    assert variables(settings, "--env") == {"A": "2"}
