"""What the shim leaves for the layer: the table of the gang, and its token."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from typing import Any

import pytest

from jobkit.errors import BackendError
from jobkit.native import gangfile
from jobkit.native.gangfile import Gang, Member


def table(n: int = 2) -> dict[str, Any]:
    ranks = [
        {
            "rank": r,
            "host": f"h{r}",
            "node": f"boot:{r}",
            "addresses": [f"10.0.0.{r}", "fe80::1"],
            "port": 5000 + r,
        }
        for r in range(n)
    ]
    return {"schema": 1, "job": "j1", "attempt": 2, "size": n, "ranks": ranks}


def write(tmp_path: Path, value: Any) -> str:
    path = tmp_path / "gang.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return str(path)


def test_the_examples_of_the_module_run() -> None:
    assert doctest.testmod(gangfile).failed == 0


def test_a_table_becomes_members_in_rank_order(tmp_path: Path) -> None:
    members = (
        Member(0, "h0", "boot:0", ("10.0.0.0", "fe80::1"), 5000),
        Member(1, "h1", "boot:1", ("10.0.0.1", "fe80::1"), 5001),
    )
    assert gangfile.read(write(tmp_path, table())) == Gang("j1", 2, members)


def test_hosts_are_addresses_with_the_reserved_port(tmp_path: Path) -> None:
    gang = gangfile.read(write(tmp_path, table()))
    assert gangfile.hosts(gang) == [["10.0.0.0:5000", "[fe80::1]:5000"], ["10.0.0.1:5001", "[fe80::1]:5001"]]


def damaged(**changes: Any) -> dict[str, Any]:
    return {**table(), **changes}


WRONG = [
    ("nonsense", "not JSON"),
    ("[" * 100_000, "not JSON"),
    ("[]", "unknown schema, got 'list'"),
    (damaged(schema=2), "unknown schema, got 2, expected 1"),
    (damaged(size=3), "damaged"),
    (damaged(size=0, ranks=[]), "damaged"),
    (damaged(ranks=table()["ranks"][::-1]), "damaged"),
    (damaged(ranks=[{"rank": 0}]), "damaged (KeyError: 'host')"),
    (damaged(ranks=None), "damaged"),
    (damaged(attempt="x"), "damaged"),
    (damaged(size=1, ranks=[{**table()["ranks"][0], "addresses": []}]), "no address to reach rank 0"),
    (damaged(size=1, ranks=[{**table()["ranks"][0], "port": 0}]), "no address to reach rank 0"),
    ({key: value for key, value in table().items() if key != "job"}, "damaged (KeyError: 'job')"),
]


@pytest.mark.parametrize(("value", "wrong"), WRONG, ids=range(len(WRONG)))
def test_a_damaged_file_is_one_error_with_its_path(tmp_path: Path, value: Any, wrong: str) -> None:
    path = write(tmp_path, value)
    with pytest.raises(BackendError) as caught:
        gangfile.read(path)
    assert str(caught.value).startswith(f"gang file {path}: ")
    assert wrong in str(caught.value)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"gang file .*: cannot be read: No such file"):
        gangfile.read(str(tmp_path / "none"))


def token_file(tmp_path: Path, text: str, mode: int = 0o600) -> str:
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_a_token_is_read_from_hexadecimal(tmp_path: Path) -> None:
    assert gangfile.read_token(token_file(tmp_path, "ab" * 32 + "\n")) == b"\xab" * 32


@pytest.mark.parametrize(
    ("text", "mode", "wrong"),
    [
        ("ab" * 32, 0o644, "others can read it, got '0o644'"),
        ("ab" * 31, 0o600, "too short, got 31"),
        ("secret", 0o600, "not hexadecimal"),
        ("", 0o600, "too short, got 0"),
    ],
)
def test_a_bad_token_is_refused_and_never_quoted(tmp_path: Path, text: str, mode: int, wrong: str) -> None:
    with pytest.raises(BackendError) as caught:
        gangfile.read_token(token_file(tmp_path, text, mode))
    assert wrong in str(caught.value)
    assert not text or text not in str(caught.value)


def test_a_missing_token_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"token file .*: cannot be read"):
        gangfile.read_token(str(tmp_path / "none"))
