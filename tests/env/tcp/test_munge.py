from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobkit.env.tcp.munge import Munge, Refused
from jobkit.errors import LaunchError

needs_munge = pytest.mark.skipif(
    shutil.which("munged") is None or os.geteuid() != 0, reason="munged is not installed, or this is not root"
)


@pytest.fixture
def socket() -> Iterator[str]:
    """A munged of the test's own, in a folder that other users may enter."""
    folder = Path(tempfile.mkdtemp(prefix="jobkit-munge-"))
    folder.chmod(0o755)
    key, path = folder / "munge.key", folder / "munge.socket"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    files = [f"--{name}-file={folder / name}" for name in ("pid", "log", "seed")]
    command = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={path}", *files]
    munged = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while subprocess.run(["munge", f"--socket={path}", "-n"], capture_output=True, check=False).returncode:
        assert munged.poll() is None, "munged did not start"
        time.sleep(0.01)
    yield str(path)
    munged.terminate()
    munged.wait()
    shutil.rmtree(folder)


@needs_munge
def test_a_credential_carries_a_secret_to_this_user(socket: str) -> None:
    munge = Munge(socket)
    credential = munge.encode(b"\0secret\xff")
    assert "secret" not in credential
    assert munge.decode(credential) == b"\0secret\xff"


@needs_munge
def test_a_credential_is_good_once(socket: str) -> None:
    munge = Munge(socket)
    credential = munge.encode(b"secret")
    munge.decode(credential)
    with pytest.raises(Refused, match="Replayed"):
        munge.decode(credential)


@needs_munge
def test_another_users_is_refused(socket: str) -> None:
    made = subprocess.run(
        ["munge", f"--socket={socket}", "--string=secret"],
        user=65534,
        group=65534,
        capture_output=True,
        text=True,
        check=True,
    )
    with pytest.raises(Refused, match="it is of user 65534"):
        Munge(socket).decode(made.stdout.strip())


@needs_munge
@pytest.mark.parametrize("text", ["", "rubbish", "MUNGE:AwQDAAC:"])
def test_rubbish_is_refused(socket: str, text: str) -> None:
    with pytest.raises(Refused):
        Munge(socket).decode(text)


@needs_munge
def test_a_munged_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="is munged running on this host"):
        Munge(str(tmp_path / "none")).encode(b"secret")
