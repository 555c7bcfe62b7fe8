from __future__ import annotations

import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobkit.env.tcp.tokens import HOME, MUNGE, OPEN, RUN_FOLDER, token
from jobkit.errors import LaunchError


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"JOBKIT_HOME": str(tmp_path / "home"), "JOBKIT_MUNGE_SOCKET": str(tmp_path / "munge.socket")}


def test_a_run_folder_has_a_token_of_its_own(environ: dict[str, str], tmp_path: Path) -> None:
    first = token(environ, str(tmp_path / "run"), one_host=False)
    assert (first.kind, first.where) == (RUN_FOLDER, str(tmp_path / "run" / "token"))
    assert token(environ, str(tmp_path / "run"), one_host=True) == first
    assert token(environ, str(tmp_path / "other"), one_host=True).secret != first.secret


def test_munge_vouches_between_hosts(environ: dict[str, str]) -> None:
    with socket.socket(socket.AF_UNIX) as munged:
        munged.bind(environ["JOBKIT_MUNGE_SOCKET"])
        assert token(environ, "", one_host=False).kind == MUNGE
        assert token(environ, "", one_host=True).kind == HOME


def test_without_it_the_users_file_does(environ: dict[str, str]) -> None:
    found = token(environ, "", one_host=False)
    assert (found.kind, found.where) == (HOME, environ["JOBKIT_HOME"] + "/token")
    assert Path(found.where).stat().st_mode & 0o777 == 0o600
    assert Path(environ["JOBKIT_HOME"]).stat().st_mode & 0o777 == 0o700


def test_many_that_make_it_at_once_have_one(environ: dict[str, str]) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: token(environ, "", one_host=True), range(64)))
    assert len(found) == 1
    assert [path.name for path in Path(environ["JOBKIT_HOME"]).iterdir()] == ["token"]


def test_the_user_may_let_anybody_in(environ: dict[str, str]) -> None:
    assert token({**environ, "JOBKIT_INSECURE": "1"}, "", one_host=False).kind == OPEN


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o604])
def test_a_token_that_others_can_read_is_refused(environ: dict[str, str], mode: int) -> None:
    path = Path(token(environ, "", one_host=True).where)
    path.chmod(mode)
    with pytest.raises(LaunchError, match=f"others can read it, got 'owner {os.geteuid()}, mode {mode:o}'"):
        token(environ, "", one_host=True)


def test_a_link_is_not_followed(environ: dict[str, str], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x" * 64)
    secret.chmod(0o600)
    Path(environ["JOBKIT_HOME"]).mkdir()
    Path(environ["JOBKIT_HOME"], "token").symlink_to(secret)
    with pytest.raises(LaunchError, match="cannot be used"):
        token(environ, "", one_host=True)


@pytest.mark.parametrize("content", [b"", b"abc", b"\xff" * 64, b"a" * 63])
def test_a_token_that_is_none_of_ours_is_refused(environ: dict[str, str], content: bytes) -> None:
    path = Path(token(environ, "", one_host=True).where)
    path.write_bytes(content)
    with pytest.raises(LaunchError, match="it is not one of jobkit's, or cut off"):
        token(environ, "", one_host=True)


@pytest.mark.parametrize("make", [lambda path: os.mkfifo(path, 0o600), lambda path: path.mkdir(mode=0o700)])
def test_a_token_that_is_no_file_is_refused_at_once(
    environ: dict[str, str], make: Callable[[Path], None]
) -> None:
    Path(environ["JOBKIT_HOME"]).mkdir()
    make(Path(environ["JOBKIT_HOME"], "token"))
    with pytest.raises(LaunchError, match="is no file"):
        token(environ, "", one_host=True)


def test_a_home_that_cannot_be_made_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LaunchError, match="JOBKIT_INSECURE=1 lets anybody"):
        token({"JOBKIT_HOME": str(tmp_path / "file" / "home")}, "", one_host=True)
