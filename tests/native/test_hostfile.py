"""The hostfile of MLX's ring, and everything that can be wrong with one."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobkit.errors import BackendError
from jobkit.native import hostfile

DOCUMENT = [
    ["123.123.1.1:5000", "123.123.1.2:5000"],
    ["123.123.2.1:5000", "123.123.2.2:5000"],
    ["123.123.3.1:5000", "123.123.3.2:5000"],
    ["123.123.4.1:5000", "123.123.4.2:5000"],
]


def write(tmp_path: Path, value: Any) -> str:
    path = tmp_path / "hosts.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return str(path)


def test_the_examples_of_the_module_run() -> None:
    assert doctest.testmod(hostfile).failed == 0


def test_the_documents_example_is_read_as_it_is(tmp_path: Path) -> None:
    assert hostfile.read(write(tmp_path, DOCUMENT), rank=2, size=4) == DOCUMENT


def test_a_single_rank_is_a_table_too(tmp_path: Path) -> None:
    assert hostfile.read(write(tmp_path, [["localhost:5000"]]), rank=0) == [["localhost:5000"]]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.0.0.1:5000", ("10.0.0.1", 5000)),
        ("node-1.cluster:1", ("node-1.cluster", 1)),
        ("[::1]:65535", ("::1", 65535)),
        ("[fe80::1%en0]:80", ("fe80::1%en0", 80)),
    ],
)
def test_an_address_is_host_and_port(address: str, expected: tuple[str, int]) -> None:
    assert hostfile.split_address(address) == expected


@given(st.ip_addresses(), st.integers(1, 65535))
def test_every_ip_address_is_accepted(ip: Any, port: int) -> None:
    text = f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"
    assert hostfile.split_address(text) == (str(ip), port)


WRONG = [
    ("not json", "not JSON"),
    ("[" * 100_000, "not JSON"),
    ("", "not JSON"),
    ([], "no ranks"),
    ("3", "not a list"),
    ('"hosts"', "not a list"),
    ([[], []], "rank 0: not a list of addresses"),
    ([["a:1"], "b:1"], "rank 1: not a list of addresses"),
    ([["a:1"], [5000]], "rank 1: not an address"),
    ([["a:1"], [None]], "rank 1: not an address"),
    ([["a"]], "no port"),
    ([[":5000"]], "no host"),
    ([["::1:5000"]], "IPv6 address without brackets"),
    ([["a:0"]], "not a port"),
    ([["a:65536"]], "not a port"),
    ([["a:http"]], "not a port"),
    ([["a:-1"]], "not a port"),
    ([["a:1", "b:1"], ["c:1"]], "rank 1: wrong number of addresses, got 1, expected 2"),
    ([["a:1"], ["a:1"]], "an address of rank 0 again, got 'a:1'"),
    ([{"ssh": "a", "ips": ["10.0.0.1"]}], "the format of mlx.launch"),
    ({"backend": "ring", "hosts": []}, "the format of mlx.launch"),
]


@pytest.mark.parametrize(("value", "wrong"), WRONG, ids=[wrong for _, wrong in WRONG])
def test_a_malformed_file_is_one_error_with_its_path(tmp_path: Path, value: Any, wrong: str) -> None:
    path = write(tmp_path, value)
    with pytest.raises(BackendError) as caught:
        hostfile.read(path, rank=0)
    assert str(caught.value).startswith(f"hostfile {path}: ")
    assert wrong in str(caught.value)


def test_mlx_launchs_own_format_gets_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"hint: .*jobkit launch --hostfile"):
        hostfile.read(write(tmp_path, [{"ssh": "a", "ips": ["10.0.0.1"]}]), rank=0)


def test_the_number_of_ranks_must_be_what_the_environment_says(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="wrong number of ranks, got 4, expected 3 as MLX_WORLD_SIZE says"):
        hostfile.read(write(tmp_path, DOCUMENT), rank=0, size=3)


@pytest.mark.parametrize("rank", [4, 100])
def test_a_rank_must_be_in_the_file(tmp_path: Path, rank: int) -> None:
    with pytest.raises(
        BackendError, match=f"MLX_RANK is not in the file, got {rank}, expected a rank from 0 to 3"
    ):
        hostfile.read(write(tmp_path, DOCUMENT), rank=rank)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="cannot be read: No such file or directory"):
        hostfile.read(str(tmp_path / "none.json"), rank=0)


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="cannot be read: Is a directory"):
        hostfile.read(str(tmp_path), rank=0)


def test_bytes_that_are_no_text_say_so(tmp_path: Path) -> None:
    path = tmp_path / "hosts.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BackendError, match="not UTF-8"):
        hostfile.read(str(path), rank=0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=8,
)


@given(JSON)
def test_any_json_is_a_table_or_one_clear_error(value: Any) -> None:
    try:
        table = hostfile.parse(json.dumps(value), where="hostfile x")
    except BackendError as error:
        assert str(error).startswith("hostfile x")
    else:
        assert table == value
