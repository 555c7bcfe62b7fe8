from __future__ import annotations

from typing import Any

import pytest

from jobkit.env.placement import Found, Placement
from jobkit.env.tcp.rendezvous import TRIED, job_name, rendezvous
from jobkit.errors import LaunchError

ONE_HOST = Placement(1, 2, 1, 2, 0, 1, ("a", "a"))
TWO_HOSTS = Placement(2, 4, 0, 2, 1, 2, (None,) * 4)
UNKNOWN = Placement(2, 4, 0, None, None, None, (None,) * 4)


def where(placement: Placement, environ: dict[str, str] | None = None, **found: Any) -> Any:
    run_dir = found.pop("run_dir", "")
    ports = found.pop("ports", None)
    return rendezvous(environ or {}, Found(placement, **{"job": "slurm-7.0", **found}), ports, run_dir)


def test_one_host_meets_on_loopback() -> None:
    meeting = where(ONE_HOST, first_host="a")
    assert (meeting.hosts, meeting.one_host, meeting.coordinates) == (("127.0.0.1",), True, False)


def test_one_host_stays_on_loopback_whatever_its_name() -> None:
    meeting = where(ONE_HOST, {"JOBKIT_COORDINATOR": "a:4000"})
    assert (meeting.hosts, meeting.ports) == (("127.0.0.1",), (4000,))


def test_several_hosts_meet_on_the_first() -> None:
    meeting = where(TWO_HOSTS, first_host="n1")
    assert (meeting.hosts, meeting.one_host) == (("n1",), False)


@pytest.mark.parametrize(
    ("placement", "coordinates"),
    [
        (Placement(0, 4, 0, 2, 0, 2, (None,) * 4), True),
        (Placement(0, 4, 0, 2, 1, 2, (None,) * 4), False),  # rank 0 of `-m arbitrary` is not on node 0
        (Placement(3, 4, 0, 2, 0, 2, (None,) * 4), True),
        (Placement(1, 4, 1, 2, 0, 2, (None,) * 4), False),
        (Placement(0, 4, 0, None, None, None, (None,) * 4), True),
        (UNKNOWN, False),
    ],
)
def test_exactly_one_rank_coordinates(placement: Placement, coordinates: bool) -> None:
    assert where(placement, first_host="n1").coordinates is coordinates


def test_the_users_word_comes_first() -> None:
    environ = {"JOBKIT_COORDINATOR": "head:12345"}
    meeting = where(TWO_HOSTS, environ, first_host="n1")
    assert (meeting.hosts, meeting.ports) == (("head",), (12345,))


@pytest.mark.parametrize("text", ["head:", ":80", "head:x", "head:0", "head:65536", "a:b:c"])
def test_a_coordinator_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(LaunchError, match="JOBKIT_COORDINATOR: no address"):
        where(TWO_HOSTS, {"JOBKIT_COORDINATOR": text})


def test_torchs_address_is_the_first_host() -> None:
    assert where(TWO_HOSTS, {"MASTER_ADDR": "n9"}).hosts == ("n9",)


def test_where_nobody_says_who_is_first_a_shared_folder_does() -> None:
    meeting = where(UNKNOWN, run_dir="/run/j1", attempt=2)
    assert (meeting.hosts, meeting.file) == ((), "/run/j1/coordinator-2.json")
    assert where(TWO_HOSTS, first_host="n1", run_dir="/run/j1").file == ""


@pytest.mark.parametrize(
    ("environ", "hosts"),
    [
        ({"SLURM_JOB_NODELIST": "n[08-10]"}, ("n08", "n09", "n10")),
        ({"LSB_MCPU_HOSTS": "a 4 b 2"}, ("a", "b")),
        ({"SLURM_JOB_NODELIST": "n[1-1000]"}, tuple(f"n{i}" for i in range(1, 33))),
    ],
)
def test_in_an_allocation_rank_0_is_looked_for_on_its_hosts(
    environ: dict[str, str], hosts: tuple[str, ...]
) -> None:
    assert where(UNKNOWN, environ).hosts == hosts


def test_without_any_of_them_the_line_to_add_is_named() -> None:
    with pytest.raises(LaunchError, match=r"export JOBKIT_COORDINATOR=HOST.*mpirun -x"):
        where(UNKNOWN)


def test_a_job_without_a_name_is_refused() -> None:
    with pytest.raises(LaunchError, match="set JOBKIT_JOB"):
        where(ONE_HOST, job="")


def test_all_ranks_try_the_same_ports_and_two_jobs_others() -> None:
    one, again = where(ONE_HOST), where(Placement(0, 2, 0, 2, 0, 1, ("a", "a")))
    assert one.ports == again.ports
    assert len(set(one.ports)) == TRIED
    assert all(10000 <= port < 32768 for port in one.ports)
    assert where(ONE_HOST, job="slurm-7.1").ports != one.ports
    assert where(ONE_HOST, attempt=2).ports != one.ports


def test_ports_stay_in_the_range_given() -> None:
    assert set(where(ONE_HOST, ports=(20000, 20003)).ports) == {20000, 20001, 20002, 20003}


@pytest.mark.parametrize(
    ("environ", "job", "expected"),
    [
        ({"JOBKIT_JOB": "j"}, "slurm-7.0", "slurm-7.0"),
        ({"JOBKIT_JOB": "j", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "", "j"),
        ({"MASTER_ADDR": "a", "MASTER_PORT": "1", "JOBKIT_COORDINATOR": "h:2"}, "", "a:1"),
        ({"MASTER_ADDR": "a", "JOBKIT_COORDINATOR": "h:2"}, "", "h:2"),
        ({}, "", ""),
    ],
)
def test_the_name_of_a_job_is_the_same_for_its_ranks(
    environ: dict[str, str], job: str, expected: str
) -> None:
    assert job_name(environ, Found(ONE_HOST, job)) == expected
