"""`python -m jobkit.native` runs a program as `python` does, on the engine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jobkit.native import __main__ as subject

SHOW = """
import json, sys
import mlx.core as mx
print(json.dumps({
    "argv": sys.argv, "path": sys.path[0], "name": __name__, "file": globals().get("__file__"),
    "main": sys.modules["__main__"].__dict__ is globals(),
    "installed": mx.distributed.init.__module__,
}))
"""


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobkit.native", *words]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )


def shown(*words: str, cwd: Path) -> dict[str, object]:
    """Return what the program says of itself."""
    done = run(*words, cwd=cwd)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    assert found["installed"] == "jobkit.native.mlx.install"
    assert found["name"] == "__main__"
    return found


def test_a_file_finds_its_neighbours_and_its_arguments(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "neighbour.py").write_text("")
    program = tmp_path / "sub" / "program.py"
    program.write_text("import neighbour\n" + SHOW)
    found = shown("sub/program.py", "-m", "b c", cwd=tmp_path)
    assert found["argv"] == ["sub/program.py", "-m", "b c"]
    assert found["path"] == str(program.parent)
    assert found["file"] == "sub/program.py"
    assert found["main"] is True


def test_a_file_is_compiled_without_the_options_of_this_module(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("def f(x: int): ...\nprint(f.__annotations__)")
    assert run("program.py", cwd=tmp_path).stdout == "{'x': <class 'int'>}\n"


def test_a_module_is_found_from_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text(SHOW)
    found = shown("-m", "package", "x", cwd=tmp_path)
    assert found["argv"] == [str(tmp_path / "package" / "__main__.py"), "x"]
    assert found["path"] == str(tmp_path)


def test_a_text_is_run(tmp_path: Path) -> None:
    found = shown("-c", SHOW, "-x", cwd=tmp_path)
    assert found["argv"] == ["-c", "-x"]
    assert found["path"] == ""


def test_a_folder_with_a_main_is_run(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__main__.py").write_text(SHOW)
    assert shown("app", cwd=tmp_path)["argv"] == ["app"]


@pytest.mark.parametrize(
    ("text", "status"),
    [("raise SystemExit(3)", 3), ("1 / 0", 1), ("import sys; sys.exit('no')", 1), ("", 0)],
)
def test_the_exit_status_is_the_program_s(tmp_path: Path, text: str, status: int) -> None:
    assert run("-c", text, cwd=tmp_path).returncode == status


def test_a_traceback_shows_the_program_only(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("def f():\n    1 / 0\nf()\n")
    for words in (("program.py",), ("-m", "program")):
        said = run(*words, cwd=tmp_path).stderr.splitlines()
        assert said[0] == "Traceback (most recent call last):"
        assert said[1].endswith('program.py", line 3, in <module>')
        assert said[-1] == "ZeroDivisionError: division by zero"


def test_an_error_of_syntax_is_shown_as_python_does(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("x = (\n")
    said = run("program.py", cwd=tmp_path).stderr.splitlines()
    assert said[0].endswith('program.py", line 1')
    assert said[-1].startswith("SyntaxError: ")


def test_a_missing_file_is_reported_as_python_does(tmp_path: Path) -> None:
    done = run("nothing.py", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith("can't open file 'nothing.py': [Errno 2] No such file or directory\n")


def test_without_a_program_the_usage_is_shown(tmp_path: Path) -> None:
    for words in ((), ("-c",), ("-m",)):
        done = run(*words, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith("usage: python -m jobkit.native")
    assert run("--help", cwd=tmp_path).returncode == 0


def test_processes_that_are_spawned_find_the_program(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import multiprocessing\n"
        "def double(x): return 2 * x\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.map(double, [1, 2]))\n"
    )
    assert run("program.py", cwd=tmp_path).stdout == "[2, 4]\n"


def test_where_mlx_is_missing_the_program_runs_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(subject.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(subject, "_run", lambda argv: ran.append(argv) or 0)
    assert subject.main(["program.py"]) == 0
    assert ran == [["program.py"]]
