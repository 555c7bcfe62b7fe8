"""Jobs of `executor: ssh`, through the sshd of hosts with networks of their own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import sshd
from clusters.site import LAPTOP, ONE, SLEEP, TWO, Site
from clusters.test_launch_ssh import SUM

Jobkit = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def _site(_hosts_can_be_had: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if reason := sshd.why_not():
        pytest.skip(reason)
    running = Site(tmp_path_factory.mktemp("site"))
    yield running
    running.hosts.end()


@pytest.fixture
def site(_site: Site) -> Iterator[Site]:
    yield _site
    _site.trust(ONE, TWO)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A working tree on the laptop."""
    folder = tmp_path / "my tree"
    folder.mkdir()
    return folder


@pytest.fixture
def jobkit(site: Site, jobkit_home: Path, work: Path) -> Jobkit:
    """Run the command line on the laptop."""

    def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environ = site.servers[ONE].environ(HOME=str(site.home), OF_LAPTOP="1", **variables)
        return site.hosts.run(LAPTOP, "jobkit", *words, cwd=str(work), environ=environ, check=False)

    return run


@pytest.fixture
def spec(work: Path) -> Callable[..., str]:
    """Write a spec for two ranks on each of two hosts; return its name."""

    def write(run: object, *lines: str, ssh: str = "") -> str:
        head = (
            f"executor: ssh\nrun: {json.dumps(run)}\nranks_per_node: 2\nssh: {{hosts: [{ONE}, {TWO}]{ssh}}}\n"
        )
        (work / "job.yaml").write_text("\n".join((head, *lines, "")))
        return "job.yaml"

    return write


def status(jobkit: Jobkit, job: str = "last") -> Any:
    done = jobkit("status", job, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_ranks_of_two_hosts_meet_in_a_copy_of_the_tree(
    jobkit: Jobkit, spec: Callable[..., str], work: Path
) -> None:
    (work / "sum.py").write_text(SUM)
    done = jobkit("submit", spec(["python", "sum.py", "native"], "backend: ring"), "--wait", "--follow")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.endswith("10")]
    assert sorted(lines) == [f"{rank} 4 {host} 10" for rank, host in enumerate((ONE, ONE, TWO, TWO))]


def left(site: Site) -> list[str]:
    """Return the processes of jobs that any host still has."""
    look = ("pgrep", "-fa", r"sleep 98765|jobkit\.(agent|env|remote)")
    found = {host: site.hosts.run(host, *look, check=False).stdout for host in site.hosts.addresses}
    return [f"{host}: {line}" for host, text in found.items() for line in text.splitlines()]


def places(site: Site) -> list[Path]:
    """Return the folders of jobs on hosts."""
    homes = (server.folder / "jobkit" for server in site.servers.values())
    return sorted(path for home in homes for path in (home / "runs").glob("[!.]*"))


@pytest.fixture
def ends(site: Site, wait: Any) -> Iterator[None]:
    yield
    assert wait(lambda: not left(site)), left(site)


def test_the_first_failure_ends_the_other_host(jobkit: Jobkit, spec: Callable[..., str], ends: None) -> None:
    run = ["sh", "-c", f"test $JOBKIT_RANK = 3 && exit 7; {SLEEP}"]
    done = jobkit("submit", spec(run, "backend: none"), "--wait")
    assert done.returncode == 7, done.stderr
    known = status(jobkit)
    assert known["exit"] == {"status": 7, "rank": 3, "host": TWO, "signal": None, "class": "exit 7"}
    assert [rank["host"] for rank in known["ranks"]] == [ONE, ONE, TWO, TWO]
    assert [rank["ended_by_jobkit"] for rank in known["ranks"]] == [True, True, True, False]


def test_a_job_is_started_cancelled_and_told(
    jobkit: Jobkit, spec: Callable[..., str], site: Site, wait: Any, ends: None
) -> None:
    job = jobkit("submit", spec(["sh", "-c", f"echo here; {SLEEP}"], "backend: none")).stdout.strip()
    assert wait(lambda: jobkit("logs", job).stdout.count("here") == 4)
    assert status(jobkit, job)["state"] == "running"
    assert len(left(site)) > 4
    assert jobkit("cancel", job).returncode == 0
    assert jobkit("wait", job).returncode == 143
    assert status(jobkit, job)["state"] == "cancelled"


def test_a_keeper_that_is_killed_takes_the_ranks_along(
    jobkit: Jobkit, spec: Callable[..., str], site: Site, wait: Any, ends: None
) -> None:
    job = jobkit("submit", spec(["sh", "-c", f"echo here; {SLEEP}"], "backend: none")).stdout.strip()
    assert wait(lambda: jobkit("logs", job).stdout.count("here") == 4)
    site.hosts.run(LAPTOP, "pkill", "-KILL", "-f", "jobkit.remote.keeper")
    assert wait(lambda: not left(site))
    known = status(jobkit, job)
    assert (known["state"], known["exit"]["status"]) == ("lost", 125)
    assert "was killed" in known["reason"]


def test_a_command_that_one_host_lacks_is_127(
    jobkit: Jobkit, spec: Callable[..., str], site: Site, ends: None
) -> None:
    # /run is each host's own.
    site.hosts.run(ONE, "cp", "/bin/sleep", "/run/program")
    done = jobkit("submit", spec(["/run/program", "98765"], "backend: none"), "--wait")
    assert done.returncode == 127, done.stderr
    assert "/run/program: no such program" in done.stderr
    assert status(jobkit)["exit"]["host"] == TWO


def test_every_host_that_cannot_be_used_is_told_and_nothing_is_left(
    jobkit: Jobkit, spec: Callable[..., str], site: Site, jobkit_home: Path
) -> None:
    before = places(site)
    site.trust(ONE)
    hosts = f"ssh.hosts=[{ONE}, {TWO}, nowhere.invalid]"
    done = jobkit("submit", spec(["true"]), "--set", hosts)
    assert done.returncode == 125
    assert done.stderr.count(": its host key") == 1
    assert done.stderr.count("nowhere.invalid: no such host") == 1
    assert list((jobkit_home / "jobs").glob("*")) == []
    assert places(site) == before


def test_a_detached_job_needs_nobody_here(
    jobkit: Jobkit, spec: Callable[..., str], site: Site, work: Path, wait: Any, ends: None
) -> None:
    (work / "sum.py").write_text(SUM)
    lines = f"until test -e '{work}/go'; do sleep 0.1; done; python sum.py native"
    name = spec(["sh", "-c", lines], "backend: ring", ssh=", detach: true")
    done = jobkit("submit", name)
    assert done.returncode == 0, done.stderr
    assert wait(lambda: status(jobkit)["state"] == "running"), jobkit("status").stdout
    assert site.hosts.run(LAPTOP, "pgrep", "-fa", "jobkit", check=False).stdout == ""
    (work / "go").touch()
    done = jobkit("wait", "last")
    assert done.returncode == 0, done.stderr
    said = [line for line in jobkit("logs", "last").stdout.splitlines() if line.endswith("10")]
    assert len(said) == 4
    assert [rank["host"] for rank in status(jobkit)["ranks"]] == [ONE, ONE, TWO, TWO]


def detached(spec: Callable[..., str], *lines: str, run: str = f"echo here; {SLEEP}") -> str:
    return spec(["sh", "-c", run], "backend: none", *lines, ssh=", detach: true")


def is_running(jobkit: Jobkit, job: str) -> bool:
    return status(jobkit, job)["state"] == "running" and jobkit("logs", job).stdout.count("here") == 4


def test_a_detached_job_ends_when_a_rank_fails(jobkit: Jobkit, spec: Callable[..., str], ends: None) -> None:
    done = jobkit("submit", detached(spec, run=f"test $JOBKIT_RANK = 3 && exit 7; {SLEEP}"), "--wait")
    assert done.returncode == 7, done.stderr
    assert status(jobkit)["exit"]["host"] == TWO


def test_a_detached_job_is_cancelled_from_here_and_is_over_in_time(
    jobkit: Jobkit, spec: Callable[..., str], wait: Any, ends: None
) -> None:
    job = jobkit("submit", detached(spec)).stdout.strip()
    assert wait(lambda: is_running(jobkit, job))
    jobkit("cancel", job)
    assert jobkit("wait", job).returncode == 143
    assert jobkit("submit", detached(spec, "time: 1s"), "--wait").returncode == 124


def test_what_a_detached_job_writes_twice_comes_from_a_second_attempt(
    jobkit: Jobkit, spec: Callable[..., str], ends: None
) -> None:
    run = "echo attempt $JOBKIT_ATTEMPT; test $JOBKIT_ATTEMPT = 2"
    done = jobkit("submit", detached(spec, "retries: {failed: 1}", run=run), "--wait")
    assert done.returncode == 0, done.stderr
    assert jobkit("logs", "last").stdout.count("attempt 2") == 4


@pytest.mark.parametrize("who", ["jobkit.remote.detached", "jobkit.remote.outpost"])
def test_a_detached_job_of_which_a_part_is_killed_ends_everywhere(
    jobkit: Jobkit, spec: Callable[..., str], site: Site, wait: Any, ends: None, who: str
) -> None:
    job = jobkit("submit", detached(spec)).stdout.strip()
    assert wait(lambda: is_running(jobkit, job))
    host = ONE if who.endswith("detached") else TWO
    site.hosts.run(host, "pkill", "-KILL", "-f", who)
    assert jobkit("wait", job).returncode == 125
    assert status(jobkit, job)["state"] == "lost"


@pytest.mark.slow
def test_a_detached_job_ends_on_both_sides_of_a_link_that_goes_silent(
    jobkit: Jobkit, spec: Callable[..., str], site: Site, wait: Any, ends: None
) -> None:
    job = jobkit("submit", detached(spec)).stdout.strip()
    assert wait(lambda: is_running(jobkit, job))
    link = ("ip", "link", "set", "eth0")
    site.hosts.run(TWO, *link, "down")
    try:
        assert wait(lambda: not left(site)), left(site)
    finally:
        site.hosts.run(TWO, *link, "up")
    assert jobkit("wait", job).returncode == 125
    assert f"{TWO}: the connection to its agent is lost" in status(jobkit, job)["reason"]


@pytest.mark.slow
def test_a_host_that_does_not_reach_the_first_one_is_told(
    jobkit: Jobkit, spec: Callable[..., str], site: Site, ends: None
) -> None:
    route = ("unreachable", site.hosts.addresses[ONE])
    site.hosts.run(TWO, "ip", "route", "add", *route)
    try:
        done = jobkit("submit", detached(spec))
    finally:
        site.hosts.run(TWO, "ip", "route", "del", *route)
    assert done.returncode == 125
    assert f"{TWO}: does not reach the job's first host" in done.stderr


def test_secrets_are_on_no_command_line_and_in_no_file_that_stays(
    jobkit: Jobkit, spec: Callable[..., str], site: Site, jobkit_home: Path, ends: None
) -> None:
    told = "test \"$TOKEN $WORD\" = 'very'' secret a b' || exit 1"
    run = f"{told}; ps -eo args | grep -v grep | grep -c very.secret || true"
    for ssh in ("", ", detach: true"):
        name = spec(["sh", "-c", run], "backend: none", "secrets: [TOKEN]", "forward: [WORD]", ssh=ssh)
        done = jobkit("submit", name, "--wait", TOKEN="very secret", WORD="a b")
        assert done.returncode == 0, done.stderr
        assert jobkit("logs", "last").stdout.count("0\n") == 4
        for folder in (jobkit_home, *(server.folder for server in site.servers.values())):
            files = [path for path in folder.rglob("*") if path.is_file()]
            assert [path for path in files if b"very secret" in path.read_bytes()] == []


BARE = "/usr/bin/python3"


def is_bare() -> bool:
    """Say whether the system has a Python that will do and has no jobkit."""
    tries = "try: import jobkit\nexcept ImportError: print('bare')"
    look = f"import sys\nassert sys.version_info >= (3, 10)\n{tries}"
    if not Path(BARE).exists():
        return False
    return subprocess.run([BARE, "-c", look], capture_output=True, cwd="/", check=False).stdout == b"bare\n"


@pytest.mark.parametrize("detach", ["false", "true"])
def test_hosts_need_python_alone(jobkit: Jobkit, spec: Callable[..., str], ends: None, detach: str) -> None:
    if not is_bare():
        pytest.skip(f"{BARE} is not there, too old, or has jobkit")
    ssh = f", python: {BARE}, detach: {detach}"
    meets = "import os; print('met', os.environ['MLX_RANK'], os.environ['MLX_HOSTFILE'] != '')"
    done = jobkit("submit", spec([BARE, "-c", meets], "backend: ring", ssh=ssh), "--wait")
    assert done.returncode == 0, done.stderr
    assert sorted(line[4:] for line in jobkit("logs", "last").stdout.splitlines()) == [
        f"met {rank} True" for rank in range(4)
    ]
    if detach == "false":
        uses = spec([BARE, "-c", "import jobkit.native"], "backend: none", ssh=ssh)
        done = jobkit("submit", uses, "--wait")
        assert done.returncode == 1
        assert done.stderr.count("python -m pip install jobkit==") == 1
        old = jobkit("submit", spec(["true"], ssh=f", python: {BARE}, sync: false"))
        assert old.returncode == 125
        assert old.stderr.count(f"{BARE} has no jobkit") == 2


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("ssh.python=/no/such/python", "has no Python"),
        ("ssh.workdir=/no/such", "workdir /no/such: is not there"),
        ("ssh.hosts=['one:1', 'two:1']", "cannot be reached"),
        ("ssh.hosts=[stranger@one, stranger@two]", "does not let stranger in"),
    ],
)
def test_what_is_wrong_with_a_host_is_told_of_each(
    jobkit: Jobkit, spec: Callable[..., str], site: Site, ends: None, setting: str, says: str
) -> None:
    before = places(site)
    done = jobkit("submit", spec(["true"], "backend: none"), "--set", setting)
    assert (done.returncode, done.stderr.count(says)) == (125, 2), done.stderr
    assert places(site) == before


def test_a_host_without_room_is_told(
    jobkit: Jobkit, spec: Callable[..., str], site: Site, work: Path, ends: None
) -> None:
    (work / "much").write_bytes(bytes(2 << 20))
    home = str(site.servers[TWO].folder / "jobkit")
    site.hosts.run(TWO, "mkdir", "-p", home)
    site.hosts.run(TWO, "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", home)
    try:
        done = jobkit("submit", spec(["true"], "backend: none"))
    finally:
        site.hosts.run(TWO, "umount", home)
    assert done.returncode == 125
    assert done.stderr.count("No space left on device") == 1, done.stderr
    assert f"{TWO}: " in done.stderr


@pytest.mark.parametrize("detach", ["false", "true"])
def test_an_interrupt_of_who_waits_cancels(
    jobkit: Jobkit, spec: Callable[..., str], site: Site, work: Path, ends: None, detach: str
) -> None:
    name = spec(["sh", "-c", f"echo here; {SLEEP}"], "backend: none", ssh=f", detach: {detach}")
    command = site.hosts.command(LAPTOP, "jobkit", "submit", name, "--follow", "--wait", cwd=str(work))
    with subprocess.Popen(command, env=site.environ(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "here\n":
            assert process.poll() is None
        waiter = site.hosts.run(LAPTOP, "pgrep", "-f", "jobkit submit").stdout.split()[0]
        site.hosts.run(LAPTOP, "kill", "-TERM", waiter)
        process.communicate()
    assert process.returncode == 143
    assert status(jobkit)["state"] == "cancelled"


def test_a_keeper_that_is_told_to_pause_stops_the_ranks_until_it_goes_on(
    jobkit: Jobkit, spec: Callable[..., str], site: Site, wait: Any, ends: None
) -> None:
    job = jobkit("submit", spec(["sh", "-c", f"echo here; {SLEEP}"], "backend: none")).stdout.strip()
    assert wait(lambda: is_running(jobkit, job))

    def stopped() -> int:
        found = (site.hosts.run(host, "ps", "-eo", "stat=,args=").stdout for host in (ONE, TWO))
        lines = [line for text in found for line in text.splitlines() if line.endswith("sleep 98765")]
        return sum(line.startswith("T") for line in lines)

    for name, n in (("TSTP", 4), ("CONT", 0)):
        site.hosts.run(LAPTOP, "pkill", f"-{name}", "-f", "jobkit.remote.keeper")
        assert wait(lambda n=n: stopped() == n)
    jobkit("cancel", job)
    assert jobkit("wait", job).returncode == 143


@pytest.mark.slow
@pytest.mark.parametrize("detach", ["false", "true"])
def test_a_job_is_run_again_with_its_files_of_today_and_of_then(
    jobkit: Jobkit, spec: Callable[..., str], work: Path, ends: None, detach: str
) -> None:
    (work / "file").write_text("then\n")
    git = ("git", "-C", str(work), "-c", "user.name=a", "-c", "user.email=a@b")
    for words in (("init", "-q"), ("add", "file"), ("commit", "-qm", "x")):
        subprocess.run([*git, *words], check=True)
    name = spec(["cat", "file"], "backend: none", ssh=f", detach: {detach}")
    first = jobkit("submit", name)
    assert first.returncode == 0, first.stderr
    (work / "file").write_text("today\n")
    assert jobkit("wait", "last").returncode == 0
    assert jobkit("logs", "last").stdout.count("then") == 4
    for words, expected in (((), "today"), (("--as-it-was",), "then")):
        again = jobkit("rerun", first.stdout.strip(), *words, "--wait")
        assert again.returncode == 0, again.stderr
        assert jobkit("logs", "last").stdout.count(expected) == 4


@pytest.mark.parametrize("detach", ["false", "true"])
def test_points_of_a_sweep_run_at_once(
    jobkit: Jobkit, spec: Callable[..., str], work: Path, ends: None, detach: str
) -> None:
    # Each point waits until the other one has begun.
    until = f"until test -e '{work}/x' -a -e '{work}/y'; do sleep 0.1; done"
    mark = f"touch '{work}'/$A; {until}; echo point $A"
    lines = ("backend: none", "sweep: {a: [x, y]}", "env: {A: '${{ sweep.a }}'}", "parallel: 2")
    done = jobkit("submit", spec(["sh", "-c", mark], *lines, ssh=f", detach: {detach}"), "--wait")
    assert done.returncode == 0, done.stderr
    assert jobkit("logs", "last/1").stdout.count("point y") == 4


def test_a_failing_line_of_setup_names_its_host(jobkit: Jobkit, spec: Callable[..., str], ends: None) -> None:
    lines = f"setup: ['export A=b', 'test $(uname -n) = {ONE}']"
    done = jobkit("submit", spec(["true"], "backend: none", lines), "--wait")
    assert done.returncode == 125
    assert f"setup: line 2 failed with status 1 on {TWO}" in done.stderr


def test_a_job_whose_connection_broke_starts_again_where_it_may(
    jobkit: Jobkit, spec: Callable[..., str], site: Site, wait: Any, ends: None
) -> None:
    run = f"echo here; test $JOBKIT_ATTEMPT = 2 || {SLEEP}"
    job = jobkit(
        "submit", spec(["sh", "-c", run], "backend: none", "retries: {node_failure: 1}")
    ).stdout.strip()
    assert wait(lambda: is_running(jobkit, job))
    site.servers[TWO].cut()
    assert jobkit("wait", job).returncode == 0
    assert status(jobkit, job)["attempt"] == 2


def test_the_doctor_asks_every_host(jobkit: Jobkit, spec: Callable[..., str], site: Site) -> None:
    name = spec(["true"])
    site.trust(ONE)
    done = jobkit("doctor", name, "--json")
    site.trust(ONE, TWO)
    rows = {row["check"]: row["state"] for row in json.loads(done.stdout)["checks"]}
    assert (rows[f"host {ONE}"], rows[f"folder on {ONE}"], rows[f"host {TWO}"]) == ("ok", "ok", "fails")
    assert done.returncode == 1
