from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobkit.env.gang import Report
from jobkit.env.rdma import matrix
from jobkit.errors import LaunchError

Make = Callable[..., Report]

# Host i reaches host j by "ij".
MESH = [
    {
        "ssh": f"me@mac-{i}.local",
        "ips": [f"10.0.0.{i}"],
        "rdma": [f"{i}{j}" if i != j else None for j in range(4)],
    }
    for i in range(4)
]
# Cables between 0-1, 1-2, 2-3 and 3-0 alone, two of each.
RING = [
    {
        "ssh": f"mac-{i}",
        "rdma": [[f"{i}{j}a", f"{i}{j}b"] if (i - j) % 4 in (1, 3) else None for j in range(4)],
    }
    for i in range(4)
]


@pytest.fixture
def hostfile(tmp_path: Path) -> Callable[[object], str]:
    """Write a hostfile: `hostfile(content)`, text as it is."""

    def write(content: object) -> str:
        path = tmp_path / "hosts.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


def ranks(make: Make, *hosts: str, **differs: Any) -> tuple[Report, ...]:
    return tuple(make(rank, host=host, node=host, **differs) for rank, host in enumerate(hosts))


def test_rows_and_columns_are_in_the_order_of_the_ranks(hostfile: Any, make_report: Make) -> None:
    reports = ranks(make_report, "mac-2.local", "mac-0.local", "mac-3.local")
    found = matrix(hostfile(MESH), reports, ("jaccl",))
    assert json.loads(found or "") == [[None, "20", "23"], ["02", None, "03"], ["32", "30", None]]


def test_a_ring_keeps_its_parallel_cables(hostfile: Any, make_report: Make) -> None:
    reports = ranks(make_report, "mac-1", "mac-2", "mac-3", "mac-0")
    found = json.loads(
        matrix(hostfile({"backend": "jaccl-ring", "hosts": RING}), reports, ("jaccl-ring",)) or ""
    )
    assert found[0] == [None, ["12a", "12b"], None, ["10a", "10b"]]


@pytest.mark.parametrize(
    ("host", "address"),
    [("mac-1.local", ""), ("MAC-1.local", ""), ("mac-1", ""), ("mac-1.lan", ""), ("other", "10.0.0.1")],
)
def test_a_host_is_found_by_name_or_address(
    hostfile: Any, make_report: Make, host: str, address: str
) -> None:
    first = make_report(0, host="mac-3", node="3")
    second = make_report(1, host=host, node="1", addresses=(address,) if address else ())
    assert matrix(hostfile(MESH), (first, second), ("jaccl",)) == '[[null, "31"], ["13", null]]'


def test_without_a_file_or_a_backend_that_reads_it_there_is_none(hostfile: Any, make_report: Make) -> None:
    reports = ranks(make_report, "mac-0", "mac-1")
    assert matrix("", reports, ("jaccl",)) is None
    assert matrix(hostfile("not read"), reports, ("ring",)) is None


def test_any_does_without_rdma_where_the_file_is_for_other_hosts(hostfile: Any, make_report: Make) -> None:
    assert matrix(hostfile(MESH), ranks(make_report, "a", "b"), ("any",)) is None
    assert matrix(hostfile(MESH), ranks(make_report, "mac-0", "mac-0"), ("any",)) is None
    assert matrix(hostfile(MESH), ranks(make_report, "mac-0", "mac-1"), ("any",)) is not None
    assert matrix(hostfile(RING), ranks(make_report, *(f"mac-{i}" for i in range(4))), ("any",)) is None


@pytest.mark.parametrize(
    ("hosts", "backend", "message"),
    [
        (
            ("mac-0", "b"),
            "jaccl",
            r"hosts\.json: no row for b, where rank 1 is; it has 4 hosts: mac-0\.local",
        ),
        (("mac-0", "mac-0"), "jaccl", r"ranks 0 and 1 are both on mac-0\.local(.|\n)*ranks_per_node: 1"),
        (("mac-0", "mac-0"), "jaccl-ring", "ranks 0 and 1 are both on"),
    ],
)
def test_ranks_that_the_file_does_not_cover_are_named(
    hostfile: Any, make_report: Make, hosts: tuple[str, ...], backend: str, message: str
) -> None:
    with pytest.raises(LaunchError, match=message):
        matrix(hostfile(MESH), ranks(make_report, *hosts), (backend,))


@pytest.mark.parametrize(
    ("order", "backend", "message"),
    [
        ("0123", "jaccl", "backend jaccl: no device from mac-0 to mac-2, mac-1 to mac-3, mac-2 to mac-0, …"),
        (
            "0213",
            "jaccl-ring",
            r"jaccl-ring: no device from mac-0 to mac-2(.|\n)*order in which the hosts are",
        ),
    ],
)
def test_ranks_that_no_cable_connects_are_named(
    hostfile: Any, make_report: Make, order: str, backend: str, message: str
) -> None:
    reports = ranks(make_report, *(f"mac-{i}" for i in order))
    with pytest.raises(LaunchError, match=message):
        matrix(hostfile(RING), reports, (backend,))


def test_neighbours_with_different_numbers_of_cables_are_refused(hostfile: Any, make_report: Make) -> None:
    uneven = [RING[0], {**RING[1], "rdma": ["10", None, "12", None]}, *RING[2:]]
    with pytest.raises(LaunchError, match="different numbers of devices, got '1, 2'"):
        matrix(hostfile(uneven), ranks(make_report, *(f"mac-{i}" for i in range(4))), ("jaccl-ring",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no list of hosts"),
        ({"hosts": "a"}, "no list of hosts"),
        (["a"], "host 0: no host name, got 'a'"),
        ([{"ssh": ""}], "host 0: no host name"),
        ([{"ssh": "a"}], r"host 0 \(a\): rdma: no row of devices"),
        ([{"ssh": "a", "rdma": [1]}], r"host 0 \(a\): rdma: no row of devices, got \[1\]"),
        ([{"ssh": "a", "rdma": [None, "x", "y"]}, {"ssh": "b", "rdma": ["x", None]}], "not square, got 3"),
        ([{"ssh": "a", "rdma": [None, "x"]}, {"ssh": "b", "rdma": ["x"]}], r"host 1 \(b\): rdma: the matrix"),
        ([{"ssh": "a", "rdma": ["x"]}], r"host 0 \(a\): rdma: entry 0 is for the host itself, got 'x'"),
        ([{"ssh": n, "rdma": [None, None]} for n in "aa"], "hosts 0 and 1 are both a"),
    ],
)
def test_a_file_that_is_none_says_where(
    hostfile: Any, make_report: Make, content: object, message: str
) -> None:
    path = hostfile(content)
    with pytest.raises(LaunchError, match=message) as raised:
        matrix(path, ranks(make_report, "a", "b"), ("jaccl",))
    assert str(raised.value).startswith(path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "a", "b", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["hosts", "ssh", "ips", "rdma"]), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(VALUES)
def test_any_content_gives_a_matrix_or_an_error_that_names_the_file(
    hostfile: Any, make_report: Make, content: object
) -> None:
    path = hostfile(content)
    try:
        found = matrix(path, ranks(make_report, "a", "b"), ("jaccl",))
    except LaunchError as error:
        assert path in str(error)
    else:
        (first, second) = json.loads(found or "")
        assert (first[0] or None, second[1] or None) == (None, None)


def test_what_is_no_file_is_not_waited_for(make_report: Make, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hosts.json")
    with pytest.raises(LaunchError, match=r"hosts.json: is no file"):
        matrix(str(tmp_path / "hosts.json"), ranks(make_report, "a", "b"), ("any",))


def test_a_file_that_is_not_there_must_be_on_every_host(make_report: Make) -> None:
    with pytest.raises(LaunchError, match=r"/no/hosts.json: cannot be read(.|\n)*on every host"):
        matrix("/no/hosts.json", ranks(make_report, "a", "b"), ("any",))
