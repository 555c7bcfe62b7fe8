"""The bridge is built once, by one of the processes that want it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from jobkit.errors import BackendError
from jobkit.native.mlx import build as subject
from jobkit.native.mlx.recipe import recipe

BUILD = [sys.executable, "-m", "jobkit.native.mlx"]


def fake_compiler(folder: Path, script: str) -> str:
    """Write a program that stands in for the compiler: it fails, or writes where `-o` says."""
    program = folder / "fake-c++"
    program.write_text(f"#!/bin/sh\necho called >> {folder}/calls\nfor last; do :; done\n{script}\n")
    program.chmod(0o755)
    return str(program)


def test_three_processes_at_once_build_it_once_and_it_loads(tmp_path: Path) -> None:
    environ = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    started = [subprocess.Popen(BUILD, env=environ, stdout=-1, stderr=-1, text=True) for _ in range(3)]
    ended = [(*process.communicate(timeout=120), process.returncode) for process in started]
    assert [status for *_, status in ended] == [0, 0, 0]
    assert len({out for out, *_ in ended}) == 1
    said = "".join(err for _, err, _ in ended)
    assert said == f"jobkit: building the bridge to MLX {recipe().mlx_version} (once)\n"
    again = subprocess.run(BUILD, env=environ, capture_output=True, text=True, timeout=60, check=True)
    assert (again.stdout, again.stderr) == (ended[0][0], "")


def test_what_was_built_is_taken_from_the_cache_without_a_compiler(tmp_path: Path) -> None:
    environ = {"XDG_CACHE_HOME": str(tmp_path), "PATH": ""}
    file = tmp_path / "jobkit" / recipe().key / f"mlx_group{recipe().suffix}"
    file.parent.mkdir(parents=True)
    file.touch()
    assert subject.build(environ) == file


def test_the_compiler_is_cxx_or_the_first_on_the_path(tmp_path: Path) -> None:
    (tmp_path / "g++").symlink_to(sys.executable)
    assert subject.compiler({"PATH": str(tmp_path)}) == (str(tmp_path / "g++"),)
    assert subject.compiler({"PATH": str(tmp_path), "CXX": "g++ -m64"}) == ("g++", "-m64")
    with pytest.raises(subject.NoCompilerError, match=r"\$CXX: no such program, got 'icpc'"):
        subject.compiler({"PATH": str(tmp_path), "CXX": "icpc"})


def test_without_a_compiler_the_error_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(subject.NoCompilerError, match="compiler on PATH") as caught:
        subject.build({"XDG_CACHE_HOME": str(tmp_path), "PATH": ""})
    assert "hint: " in str(caught.value)


def test_a_compiler_that_fails_is_quoted_and_nothing_is_left(tmp_path: Path) -> None:
    command = fake_compiler(tmp_path, "echo 'mlx_group.cc:1: error: no such thing' >&2; exit 3")
    environ = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": os.environ["PATH"], "CXX": command}
    with pytest.raises(BackendError, match="ended with status 3") as caught:
        subject.build(environ)
    assert "error: no such thing" in str(caught.value)
    assert [path.suffix for path in (tmp_path / "cache" / "jobkit").iterdir()] == [".lock"]


def test_a_file_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    environ = {"XDG_CACHE_HOME": str(tmp_path), "PATH": ""}
    file = tmp_path / "jobkit" / recipe().key / f"mlx_group{recipe().suffix}"
    file.parent.mkdir(parents=True)
    file.write_text("not a library")
    with pytest.raises(BackendError, match="cannot be loaded") as caught:
        subject.load(environ)
    assert f"remove {file.parent}" in str(caught.value)


def test_a_cache_that_cannot_be_written_gives_way_to_the_user_s_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject.tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / "file").touch()
    folder = subject.cache_folder({"XDG_CACHE_HOME": str(tmp_path / "file")})
    assert folder == tmp_path / f"jobkit-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_temporary_folder_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject.tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"jobkit-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "file").touch()
    with pytest.raises(BackendError, match="not a folder of this user's own"):
        subject.cache_folder({"XDG_CACHE_HOME": str(tmp_path / "file")})


def test_a_lock_that_is_held_too_long_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "LOCK_TIMEOUT_S", 0.2)
    file = tmp_path / "a.lock"
    holder = (
        f"import fcntl; f = open({str(file)!r}, 'w'); fcntl.flock(f, 2); print('held', flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-uc", holder], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(BackendError, match=r"another process has been building"), subject._locked(file):
            pass
        process.stdin.close()


def test_the_commands_compile_against_the_mlx_that_is_installed(tmp_path: Path) -> None:
    words = shlex.join(subject.compile_commands(recipe(), ("g++",), tmp_path)[0])
    assert "-DNB_DOMAIN=mlx" in words
    assert f"-I{recipe().mlx / 'include'}" in words
