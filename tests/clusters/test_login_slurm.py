"""Jobs that a laptop submits through a login node's sshd to a real Slurm."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import sshd
from clusters.slurm import NODES, Slurm

Jobkit = Callable[..., subprocess.CompletedProcess[str]]
LAPTOP = NODES[2]  # a host without Slurm's settings
# From a command that jobkit's program there has started: end sshd's process for this connection.
CUT = "kill -9 $(ps -o ppid= $PPID); sleep 0.5"


@pytest.fixture(scope="module")
def login(_slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> sshd.Sshd:
    """The login host's sshd."""
    if reason := sshd.why_not():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("sshd")
    (folder / "bin").mkdir()
    path = f"{folder}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
    home = folder / "jobkit there"
    variables = {"SLURM_CONF": str(_slurm.conf), "PATH": path, "JOBKIT_HOME": str(home)}
    return sshd.Sshd(_slurm.hosts, "login", folder, **variables)


@pytest.fixture
def there(login: sshd.Sshd) -> Path:
    """The login node's JOBKIT_HOME."""
    return login.folder / "jobkit there"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A working tree on the laptop."""
    folder = tmp_path / "my tree"
    (folder / "sub folder").mkdir(parents=True)
    return folder


@pytest.fixture
def jobkit(cluster: Slurm, login: sshd.Sshd, jobkit_home: Path, work: Path) -> Iterator[Jobkit]:
    """Run the command line on the laptop."""

    def run(*words: str, cwd: Path = work, **variables: str) -> subprocess.CompletedProcess[str]:
        environ = login.environ(**variables)
        return cluster.hosts.run(LAPTOP, "jobkit", *words, cwd=str(cwd), environ=environ, check=False)

    yield run
    login.trust("host_key")


@pytest.fixture
def spec(work: Path) -> Callable[..., str]:
    """Write a spec for two nodes of one rank; return its name."""

    def write(run: str, *lines: str, host: str = "cluster") -> str:
        text = f"executor: slurm\nbackend: none\nnodes: 2\nrun: {run}\n"
        (work / "job.yaml").write_text("\n".join((text, f"slurm: {{login: {host}}}", *lines, "")))
        return "job.yaml"

    return write


def python(program: str) -> str:
    return json.dumps(["python", "-c", program])


def status(jobkit: Jobkit, job: str = "last") -> Any:
    done = jobkit("status", job, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_job_goes_there_with_its_tree_and_comes_back_with_its_output(
    jobkit: Jobkit, spec: Callable[..., str], work: Path, there: Path, jobkit_home: Path, login: sshd.Sshd
) -> None:
    shown = "open('a file').read(), os.environ['TOKEN'][:5], os.environ['WORD']"
    program = f"import os, sys; print({shown}); sys.exit(7)"
    (work / "a file").write_text("content")
    name = spec(python(program), "secrets: [TOKEN]", "forward: [WORD]")
    done = jobkit("submit", name, "--wait", "--follow", TOKEN="secret value", WORD="two words, 'quoted'")
    assert done.returncode == 7, done.stderr
    assert "content secre two words, 'quoted'\n" in done.stdout
    known = status(jobkit)
    assert (known["state"], known["exit"]["class"], known["executor"]) == ("failed", "exit 7", "slurm")
    assert sorted(rank["host"] for rank in known["ranks"]) == sorted(NODES[:2])
    job = jobkit("list", "--json", HOME="/nonexistent")
    assert [job["state"] for job in json.loads(job.stdout)] == ["failed"]
    for folder in (there, jobkit_home):
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert [path for path in files if b"secret value" in path.read_bytes()] == []


@pytest.fixture
def tell(cluster: Slurm, login: sshd.Sshd) -> Callable[..., str]:
    """Run a line of Python on the laptop."""

    def run(*lines: str) -> str:
        words = ("python", "-c", "\n".join(lines))
        return cluster.hosts.run(LAPTOP, *words, environ=login.environ()).stdout

    return run


@pytest.mark.parametrize("shell", sshd.SHELLS)
def test_every_login_shell_will_do(tell: Callable[..., str], shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    told = tell(
        "from jobkit.remote import session",
        f"talk = session.Session('user-{shell}@cluster-{shell}', {str(sys.executable)!r})",
        "print(talk.jobkit, talk.python)",
        "talk.close()",
    )
    assert told == f"{__import__('jobkit').__version__} {sys.executable}\n"


def test_a_login_node_behind_another_is_reached_through_it(
    tell: Callable[..., str], login: sshd.Sshd
) -> None:
    before = (login.folder / "sshd.log").read_text().count("Accepted publickey")
    told = tell(
        "from jobkit.remote import session",
        f"talk = session.Session('behind', {str(sys.executable)!r})",
        "print(talk.python)",
        "talk.close()",
    )
    assert told == f"{sys.executable}\n"
    assert (login.folder / "sshd.log").read_text().count("Accepted publickey") == before + 2


@pytest.mark.parametrize(
    ("key", "words"),
    [(None, "is not in known_hosts"), ("key", "is not the one in known_hosts")],
    ids=["unknown", "changed"],
)
def test_a_host_that_nobody_vouches_for_gets_nothing(
    jobkit: Jobkit, spec: Callable[..., str], login: sshd.Sshd, there: Path, key: str | None, words: str
) -> None:
    login.trust(key)
    before = sorted(there.rglob("*"))
    done = jobkit("submit", spec("true"))
    assert (done.returncode, done.stdout) == (125, "")
    assert words in done.stderr
    assert ("ssh-keyscan -p 2222 login" if key is None else "ssh-keygen -R '[login]:2222'") in done.stderr
    assert jobkit("list", "--json").stdout == "[]\n"
    assert sorted(there.rglob("*")) == before


def test_an_answer_that_is_lost_is_asked_for_again(
    jobkit: Jobkit, spec: Callable[..., str], cluster: Slurm, login: sshd.Sshd
) -> None:
    real, wrapper, mark = shutil.which("sbatch"), login.folder / "bin" / "sbatch", login.folder / "cut"
    cut = f"test -e '{mark}' || {{ touch '{mark}'; {CUT}; }}"
    lines = ("#!/bin/bash", f'case "$1" in --test-only) ;; *) {cut};; esac', f'exec {real} "$@"', "")
    wrapper.write_text("\n".join(lines))
    wrapper.chmod(0o700)
    try:
        done = jobkit("submit", spec("true", "name: once"), "--id", "once", "--set", "slurm.extra={hold: ''}")
    finally:
        wrapper.unlink()
    assert mark.exists(), "the connection was cut"
    assert (done.returncode, done.stdout) == (0, "once\n"), done.stderr
    assert "the connection broke; asking again" in done.stderr
    queue = cluster.run("squeue", "--noheader", "--format=%i").stdout.split()
    assert [status(jobkit)["scheduler_id"]] == queue


def test_a_connection_that_is_lost_while_waiting_is_told_and_made_again(
    jobkit: Jobkit, spec: Callable[..., str], cluster: Slurm, login: sshd.Sshd, work: Path, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    program = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.1)\nraise SystemExit(5)"
    assert jobkit("submit", spec(python(program)), "--id", "long").returncode == 0
    words = cluster.hosts.command(LAPTOP, "jobkit", "wait", "long", cwd=str(work))
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=login.environ()) as waiting:
        assert waiting.stderr is not None
        assert _line_with("running", waiting.stderr)
        login.cut()
        assert _line_with("as last known, since cluster: the connection broke", waiting.stderr)
        go.touch()
        assert waiting.wait(60) == 5


def _line_with(words: str, lines: Iterable[str]) -> bool:
    return any(words in line for line in lines)


def test_a_job_is_cancelled_and_run_again_from_the_laptop(
    jobkit: Jobkit, spec: Callable[..., str], work: Path
) -> None:
    assert jobkit("submit", spec(python("import time; time.sleep(600)")), "--id", "first").returncode == 0
    assert jobkit("cancel", "first").returncode == 0
    known = status(jobkit, "first")
    assert (known["state"], known["exit"]["status"]) == ("cancelled", 143)
    again = jobkit("rerun", "first", "--set", "run='true'", "--id", "second", "--wait")
    assert again.returncode == 0, again.stderr
    (work / "version").write_text("old\n")
    kept = jobkit("submit", spec("cat version", "snapshot: true"), "--id", "kept", "--wait", "--follow")
    (work / "version").write_text("new\n")
    again = jobkit("rerun", "kept", "--as-it-was", "--id", "again", "--wait", "--follow")
    assert (kept.stdout, again.stdout) == ("kept\nold\nold\n", "again\nold\nold\n"), again.stderr
    refused = jobkit("submit", spec("true"), "--set", "slurm.partition=nope", "--id", "third")
    assert (refused.returncode, refused.stdout) == (125, "")
    assert "invalid partition" in refused.stderr
    listed = [job["id"] for job in json.loads(jobkit("list", "--json").stdout)]
    assert listed == ["first", "second", "kept", "again"]


def test_a_dry_run_needs_no_connection(jobkit: Jobkit, spec: Callable[..., str], work: Path) -> None:
    done = jobkit("submit", spec("true", host="nobody@nowhere"), "--dry-run", cwd=work)
    assert done.returncode == 0, done.stderr
    assert f"sync {work} -> nobody@nowhere:<tree>\n" in done.stdout
    assert "ssh nobody@nowhere" in done.stdout
    assert not (work.parent / "jobkit-home").exists()
