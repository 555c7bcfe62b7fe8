"""Hosts on which ranks cannot run: each is told with its remedy, and no rank starts anywhere."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clusters import sshd
from clusters.site import LAPTOP, ONE, TWO, Launch, Site

Settings = Callable[[str], None]


@pytest.fixture
def ssh_config(site: Site) -> Iterator[Settings]:
    """Put lines before the laptop's ssh_config."""
    file = site.home / ".ssh" / "config"
    before = file.read_text()
    yield lambda lines: file.write_text(f"{lines}\n{before}") and None
    file.write_text(before)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("Host two\n HostName 10.78.0.99\n ConnectTimeout 1", "cannot be reached"),
        ("Host two\n Port 1", "cannot be reached"),
        ("Host two\n User stranger", "does not let stranger in"),
        ("Host two\n HostKeyAlias x\n HostName nowhere.invalid", "no such host"),
    ],
    ids=["unreachable", "refused", "authentication", "name"],
)
def test_a_host_that_cannot_be_had_is_told_and_all_are_tried(
    launch: Launch, ssh_config: Settings, tmp_path: Path, lines: str, message: str
) -> None:
    ssh_config(lines)
    mark = tmp_path / "ran"
    done = launch("--hosts", f"{TWO},{ONE},nobody.invalid", "--backend", "none", "touch", str(mark))
    assert done.returncode == 125
    assert f"error: {TWO}: " in done.stderr
    assert message in done.stderr
    assert "error: nobody.invalid: no such host" in done.stderr
    assert done.stderr.count("error:") == 2
    assert not mark.exists()


def test_a_host_with_another_key_is_refused_and_nothing_is_believed(launch: Launch, site: Site) -> None:
    wrong = (site.servers[ONE].folder / "host_key.pub").read_text()
    known = site.home / "known_hosts"
    known.write_text(f"{known.read_text().splitlines()[0]}\n[{TWO}]:{sshd.PORT} {wrong}")
    for keys in ("strict", "tofu"):
        done = launch("--hosts", f"{ONE},{TWO}", "--host-keys", keys, "true")
        assert done.returncode == 125
        assert f"{TWO}: its host key (ssh-ed25519" in done.stderr
        assert "is not the one in known_hosts" in done.stderr


def test_keys_are_kept_on_first_use_or_not_looked_at_only_when_asked(launch: Launch, site: Site) -> None:
    site.trust()
    assert launch("--hosts", ONE, "true").returncode == 125
    assert launch("--hosts", ONE, "--host-keys", "off", "true").returncode == 0
    assert (site.home / "known_hosts").read_text() == ""
    done = launch("--hosts", ONE, "--host-keys", "tofu", "true")
    assert (done.returncode, "is kept in" in done.stderr) == (0, True), done.stderr
    assert launch("--hosts", ONE, "true").returncode == 0


def test_what_one_host_alone_has_not_is_told_of_that_host(launch: Launch, site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "only here"
    folder.mkdir()
    program = folder / "program"
    program.write_text("#!/bin/sh\nsleep 1\n")
    program.chmod(0o755)
    site.hosts.run(TWO, "mount", "-t", "tmpfs", "tmpfs", str(folder))
    try:
        missing = launch("--hosts", f"{ONE},{TWO}", str(program))
        site.hosts.run(TWO, "touch", str(program))
        closed = launch("--hosts", f"{ONE},{TWO}", str(program))
        site.hosts.run(TWO, "umount", str(folder))
        site.hosts.run(TWO, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path))
        no_folder = launch("--hosts", f"{ONE},{TWO}", "--cwd", str(folder), "true")
    finally:
        site.hosts.run(TWO, "umount", str(folder), check=False)
        site.hosts.run(TWO, "umount", str(tmp_path), check=False)
    for done, status, message in (
        (missing, 127, "no such program"),
        (closed, 126, "is not executable"),
    ):
        assert done.returncode == status, done.stderr
        assert f"rank 1 on {TWO}: " in done.stderr
        assert message in done.stderr
        assert done.stderr.count("error:") == 1
    assert no_folder.returncode == 125
    assert f"{TWO}: {folder}: is no folder to work in" in no_folder.stderr
    assert no_folder.stderr.count("error:") == 1


def test_a_host_with_another_jobkit_is_told_both_versions(launch: Launch, tmp_path: Path) -> None:
    # Before anything that an editable install brings.
    other = "import sys, types\nsys.modules['jobkit'] = types.SimpleNamespace(__version__='0.0.1')\n"
    (tmp_path / "sitecustomize.py").write_text(other)
    python = tmp_path / "python"
    run = f"PYTHONPATH={shlex.quote(str(tmp_path))} exec {shlex.quote(sys.executable)}"
    python.write_text(f'#!/bin/sh\n{run} "$@"\n')
    python.chmod(0o755)
    done = launch("--hosts", f"{ONE},{TWO}", "--agent-python", str(python), "true")
    assert done.returncode == 125
    assert f"{TWO}: " in done.stderr
    assert "has another jobkit, got '0.0.1'" in done.stderr


def test_a_host_without_room_for_files_is_told(launch: Launch, site: Site) -> None:
    folder = site.servers[TWO].folder / "jobkit"
    folder.mkdir(exist_ok=True)
    site.hosts.run(TWO, "mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=1", "tmpfs", str(folder))
    try:
        done = launch("--hosts", f"{ONE},{TWO}", "true")
    finally:
        site.hosts.run(TWO, "umount", str(folder))
    assert done.returncode == 125
    assert f"{TWO}: no temporary folder can be made" in done.stderr
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize("shell", sorted(sshd.SHELLS))
def test_any_login_shell_will_do(launch: Launch, shell: str) -> None:
    word = "a 'b' \"c\" $HOME; id\\ !x\n*"
    program = "import sys; print(sys.argv[1:])"
    done = launch("--hosts", f"user-{shell}@{TWO}", "--", sys.executable, "-c", program, word)
    assert (done.returncode, done.stdout) == (0, f"{[word]}\n"), done.stderr


def test_hosts_behind_a_gateway_come_through_one_connection(
    launch: Launch, site: Site, ssh_config: Settings
) -> None:
    two = site.hosts.addresses[TWO]
    ssh_config(
        f"Host a b c\n HostName {two}\n HostKeyAlias {TWO}\n Port {sshd.PORT}\n User user-dash\n"
        f" IdentityFile {site.servers[TWO].folder}/key\n ProxyJump {ONE}"
    )
    (site.home / "known_hosts").write_text(
        "".join(server.known_hosts.read_text() for server in site.servers.values())
        + site.servers[TWO].known_hosts.read_text().replace(TWO, two)
    )
    log = site.servers[ONE].folder / "sshd.log"
    before = log.read_text().count("Accepted publickey")
    done = launch("--hosts", "a,b,c", "--backend", "none", "sh", "-c", "echo ${SSH_CONNECTION%% *}")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{site.hosts.addresses[ONE]}\n" * 3
    assert log.read_text().count("Accepted publickey") == before + 1


def test_a_command_leads_to_a_host_too(launch: Launch, ssh_config: Settings, site: Site) -> None:
    ssh_config(_through(site))
    done = launch("--hosts", TWO, "uname", "-n")
    assert done.stdout == f"{TWO}\n", done.stderr


def _through(site: Site) -> str:
    program = site.folder / "through.py"
    program.write_text(
        "import os, socket, sys, threading\n"
        "far = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def back():\n"
        "    while data := far.recv(65536):\n"
        "        os.write(1, data)\n"
        "    os._exit(0)\n"
        "threading.Thread(target=back).start()\n"
        "while data := os.read(0, 65536):\n"
        "    far.sendall(data)\n"
        "os._exit(0)\n"
    )
    return f"Host {TWO}\n ProxyCommand {sys.executable} {program} %h %p"


def test_a_slow_host_and_a_fast_one_start_together(launch: Launch, site: Site) -> None:
    settings = site.servers[TWO].folder / "users" / "bash" / ".bashrc"
    before = settings.read_text()
    settings.write_text(f"sleep 2; {before}")
    try:
        done = launch("--hosts", f"{ONE},{TWO}", "date", "+%s")
    finally:
        settings.write_text(before)
    first, second = map(int, done.stdout.split())
    assert done.returncode == 0
    assert abs(first - second) <= 20


HOSTILE = [
    "$(touch {mark})",
    "`touch {mark}`",
    "; touch {mark} #",
    "-oProxyCommand=touch {mark}",
    "a|touch {mark}",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_word_that_is_given_runs_anything(launch: Launch, tmp_path: Path, text: str) -> None:
    mark = tmp_path / "mark"
    word = text.format(mark=mark)
    assert launch("--hosts", word, "true").returncode == 2
    hostfile = tmp_path / "hosts.json"
    hostfile.write_text(f'[{{"ssh": "x {word}"}}]')
    assert launch("--hostfile", str(hostfile), "true").returncode == 2
    folder = tmp_path / word.replace("/", "_")
    folder.mkdir()
    done = launch(
        *("--hosts", f"{ONE},{TWO}", "--env", f"A={word}", "--env", f"B={word}", "--cwd", str(folder)),
        *("--", sys.executable, "-c", "import os, sys; print([os.environ['A'], sys.argv[1]])", word),
    )
    assert done.stdout == f"{[word, word]}\n" * 2, done.stderr
    assert launch("--hosts", ONE, "--agent-python", word, "true").returncode == 125
    assert launch("--hosts", ONE, "--", str(folder / "program")).returncode == 127
    assert not mark.exists()


def test_no_secret_is_seen_among_the_processes(site: Site, tmp_path: Path) -> None:
    script = "echo here; read line; exit 0"
    flags = ("--hosts", f"{ONE},{TWO}", "--env", "SECRET=s3cret", "--backend", "none")
    # The launcher's own words are the user's; what it makes of them is looked at.
    with site.launch(*flags, "--", "sh", "-c", script, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        assert process.stdout.readline() == "here\n"
        shown = [
            line
            for host in (LAPTOP, ONE, TWO)
            for line in site.hosts.run(host, "ps", "-eo", "args").stdout.splitlines()
            if "jobkit launch" not in line
        ]
        process.communicate("\n", timeout=60)
    assert not any("s3cret" in line for line in shown)
    assert any("jobkit" in line or "sh -c" in line for line in shown)
    assert process.returncode == 0
    assert os.environ.get("SECRET") is None
