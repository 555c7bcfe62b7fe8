"""A spec's file is read, or refused in one clear message."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jobkit.errors import Exit, SpecError
from jobkit.spec import load, parse, schema
from jobkit.spec.document import MAX_BYTES


def refusal(path: Path) -> str:
    """Return the message about a file that cannot be used."""
    with pytest.raises(SpecError) as caught:
        load(str(path), {})
    assert caught.value.exit_status == Exit.USAGE
    return str(caught.value).replace(str(path.parent), "")


def written(folder: Path, data: bytes) -> Path:
    """Return a file with the data."""
    path = folder / "a.yaml"
    path.write_bytes(data)
    return path


def test_a_file_is_read(tmp_path: Path) -> None:
    spec = load(str(written(tmp_path, b"run: a\n")), {})

    assert spec.name.fill({}) == "a"
    assert spec.where("run") == f"{tmp_path}/a.yaml:1: run"


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    assert load(str(written(tmp_path, b"\xef\xbb\xbfrun: a\r\nranks: 2\r\n")), {}).ranks == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "/a.yaml: empty, expected a spec, at least `run: COMMAND`"),
        (b"\n# nothing\n", "/a.yaml: empty, expected a spec, at least `run: COMMAND`"),
        (b"---\n", "/a.yaml: empty, expected a spec, at least `run: COMMAND`"),
        (b"null\n", "/a.yaml: empty, expected a spec, at least `run: COMMAND`"),
        (b"\n- run: a\n", "/a.yaml:2: not a spec, got [{'run': 'a'}], expected keys: `run: COMMAND`"),
        (b"run\n", "/a.yaml:1: not a spec, got 'run', expected keys: `run: COMMAND`"),
        (
            b"run: a\n---\nrun: b\n",
            "/a.yaml:2: a second document, expected one spec a file, without another ---",
        ),
        (b"run: a\n\tranks: 2\n", "/a.yaml:2: a tab, expected spaces, as YAML wants them"),
        (b"run: a\nname: x\xe9\n", "/a.yaml:2: not UTF-8, got b'\\xe9', expected YAML text in UTF-8"),
        (b"\x7fELF\0\0", "/a.yaml: a binary file, expected YAML text in UTF-8"),
        ("run: a".encode("utf-16"), "/a.yaml: a binary file, expected YAML text in UTF-8"),
        (b"#" * (MAX_BYTES + 1), f"/a.yaml: too big for a spec, expected at most {MAX_BYTES} bytes"),
    ],
)
def test_a_file_that_is_no_spec_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    assert refusal(written(tmp_path, data)) == message


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "b.yaml") == "/b.yaml: cannot be read: no such file or directory"


def test_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").mkdir()

    assert refusal(tmp_path / "b.yaml") == "/b.yaml: a directory, expected a file with a spec"


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    assert re.fullmatch(r"/a\0b: cannot be read: .*null.*", refusal(tmp_path / "a\0b"))
    assert refusal(tmp_path / ("a" * 300)).endswith("cannot be read: file name too long")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, b"run: a\n")
    path.chmod(0)

    assert refusal(path) == "/a.yaml: cannot be read: permission denied"


@pytest.mark.skipif(
    not Path("/proc/self/mem").exists(), reason="no file here that can be opened and not read"
)
def test_a_file_that_fails_while_it_is_read_is_refused() -> None:
    assert refusal(Path("/proc/self/mem")).endswith("/mem: cannot be read: input/output error")


def test_an_endless_file_is_refused() -> None:
    assert "too big" in refusal(Path("/dev/zero"))


def test_a_spec_that_was_not_read_from_text_has_no_lines() -> None:
    spec = type(parse("run: a\n", "a.yaml", {})).model_validate({"run": "a"})

    assert spec.where("run") == "run"


def test_the_schema_is_that_of_the_spec() -> None:
    assert schema()["title"] == "jobkit spec"


def test_the_command_line_starts_without_pydantic() -> None:
    code = "import sys, jobkit.cli.validate, jobkit.cli.schema, jobkit.plan; print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"
