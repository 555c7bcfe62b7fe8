"""The guests of the tests: what is run there, what stays there, and what connects them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clusters import guests

# Two kernels on emulated processors.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def pair(_guests_can_be_had: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[guests.Guest]]:
    with guests.two(tmp_path_factory.mktemp("guests")) as both:
        yield both


def test_a_command_gives_back_its_output_and_status(pair: list[guests.Guest]) -> None:
    done = pair[0].run("sh", "-c", "cat; hostname; echo wrong >&2; exit 3", text="given ", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "given left\n", "wrong\n")
    assert pair[1].run("no-such-command", check=False).returncode == 127
    with pytest.raises(AssertionError, match="left: false: status 1"):
        pair[0].run("false")


def test_commands_run_beside_each_other(pair: list[guests.Guest]) -> None:
    pair[0].run("mkfifo", "/tmp/jobkit-fifo")
    reads = pair[0].start("cat", "/tmp/jobkit-fifo")
    pair[0].run("sh", "-c", "echo here >/tmp/jobkit-fifo")
    assert pair[0].wait(reads).stdout == "here\n"


def test_the_files_of_the_host_are_there_and_stay_as_they_are(
    pair: list[guests.Guest], tmp_path: Path
) -> None:
    own = Path(__file__)
    assert pair[0].run("cat", str(own)).stdout == own.read_text()
    pair[0].run("sh", "-c", f"echo changed >'{tmp_path}/new'; echo changed >'{own}.new'")
    assert pair[0].run("cat", f"{tmp_path}/new").stdout == "changed\n"
    assert not (tmp_path / "new").exists()
    assert not Path(f"{own}.new").exists()
    assert pair[1].run("cat", f"{tmp_path}/new", check=False).returncode == 1


@pytest.mark.parametrize("kind", ["RC", "UC"])
def test_their_devices_reach_each_other(pair: list[guests.Guest], kind: str) -> None:
    words = ("ib_send_bw", "--ib-dev=rxe0", "--gid-index=1", f"--connection={kind}", "--iters=50")
    serves = pair[1].start(*words)
    # The server listens a moment after it was started.
    pair[0].run("sh", "-c", 'until "$@" 10.2.0.2 2>/dev/null; do sleep 0.2; done', "sh", *words)
    assert pair[1].wait(serves).returncode == 0


def test_a_guest_dies_with_whoever_started_it(
    _guests_can_be_had: None, tmp_path: Path, wait: Callable[..., bool], alive: Callable[[int], bool]
) -> None:
    program = (
        "import pathlib, sys\nfrom clusters.guests import Guest\nGuest('orphan', pathlib.Path(sys.argv[1]))"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], env=environ)
    children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    # setpriv has become QEMU once that has opened the console.
    assert wait(lambda: (tmp_path / "orphan.console").exists())
    qemu = int(children.read_text())
    child.kill()
    child.wait()
    assert wait(lambda: not alive(qemu))
