"""The jaccl backend between two hosts with a device each, and a network beside the cable."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from clusters import guests, rxe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
MATRIX = [[None, "rxe0"], ["rxe0", None]]

# Either calls all the time, or the cable is idle when it is pulled.
PULLED = """
import os, pathlib, time
import jobkit.native as dist
group = dist.init(strict=True, backend="jaccl")
dist.all_sum(1.0)
pathlib.Path("/tmp/ready").touch()
if os.environ["CABLE"] == "idle":
    while not pathlib.Path("/tmp/pulled").exists():
        time.sleep(0.1)
try:
    while True:
        dist.all_sum(1.0)
except RuntimeError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def pair(_guests_can_be_had: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[guests.Guest]]:
    with guests.two(tmp_path_factory.mktemp("guests")) as both:
        yield both


@pytest.mark.parametrize("kind", ["rc", "uc"])
def test_two_hosts_do_all_operations(pair: list[guests.Guest], kind: str) -> None:
    environ = rxe.environ(pair, MATRIX, "10.2.0.1", JOBKIT_JACCL_QP=kind)
    numbers = [rxe.start(guest, rank, 1, rxe.OPERATIONS, environ) for rank, guest in enumerate(pair)]
    ranks = [rxe.wait(guest, number)[0] for guest, number in zip(pair, numbers, strict=True)]
    assert [rank["status"] for rank in ranks] == [0, 0], ranks
    assert all(f"'kind': '{kind}', 'devices': 'rxe0'" in rank["out"] for rank in ranks), ranks


@pytest.mark.parametrize("cable", ["busy", "idle"])
@pytest.mark.parametrize("kind", ["rc", "uc"])
def test_both_are_told_of_a_port_that_goes_down(pair: list[guests.Guest], kind: str, cable: str) -> None:
    environ = rxe.environ(pair, MATRIX, "10.2.0.1", JOBKIT_JACCL_QP=kind, CABLE=cable)
    numbers = [rxe.start(guest, rank, 1, PULLED, environ) for rank, guest in enumerate(pair)]
    for guest in pair:
        guest.run("sh", "-c", "until [ -e /tmp/ready ]; do sleep 0.1; done")
    pair[0].run("ip", "link", "set", "eth0", "down")
    try:
        for guest in pair:
            guest.run("touch", "/tmp/pulled")
        ranks = [rxe.wait(guest, number)[0] for guest, number in zip(pair, numbers, strict=True)]
    finally:
        pair[0].run("ip", "link", "set", "eth0", "up")
        for guest in pair:
            guest.run("rm", "-f", "/tmp/ready", "/tmp/pulled")
    assert [rank["status"] for rank in ranks] == [0, 0], ranks
    for number, rank in enumerate(ranks):
        told = rf"\[jaccl\] rank {number} of 2: all_sum #\d+: rank \d .* cannot be reached: device rxe0: "
        assert re.search(told, rank["out"]), rank
