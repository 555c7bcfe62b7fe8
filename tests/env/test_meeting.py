from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jobkit import __version__
from jobkit.env import ports
from jobkit.env.gang import Report, Table
from jobkit.env.meeting import NOTHING_HELD, Held, check_alone, hold, meet, report
from jobkit.env.placement import Placement
from jobkit.env.settings import Settings
from jobkit.env.translate import Identity
from jobkit.errors import LaunchError

SETTINGS = Settings(None, None, 1, 0, False, "")
FIRST = Placement(0, 2, 0, 2, 0, 1, ("a", "a"))
SECOND = Placement(1, 2, 1, 2, 0, 1, ("a", "a"))
NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}


def held_ports(held: Held) -> list[ports.Reservation]:
    single = [r for r in (held.layer, held.torch, held.nccl, held.jaccl) if r is not None]
    return [*single, *held.ring]


def give_back(held: Held) -> None:
    for reservation in held_ports(held):
        ports.release(reservation)


def test_rank_0_holds_the_meeting_points_of_all() -> None:
    first, second = hold(FIRST, SETTINGS, has_gpu=True), hold(SECOND, SETTINGS, has_gpu=True)
    assert (len(held_ports(first)), len(held_ports(second))) == (5, 2)
    give_back(first)
    give_back(second)


def test_several_connections_hold_several_ports() -> None:
    held = hold(SECOND, Settings(None, None, 3, 0, False, ""), has_gpu=False)
    assert len(held.ring) == 3
    give_back(held)


def test_a_report_says_who_and_where() -> None:
    said = report(NO_GPU, SECOND, SETTINGS, NOTHING_HELD, ("10.0.0.1",))
    assert (said.rank, said.local_rank, said.host, said.jobkit) == (1, 1, os.uname().nodename, __version__)
    assert (said.addresses, said.devices) == (("10.0.0.1",), ())


def test_a_backend_that_cannot_run_is_refused_even_for_one_rank() -> None:
    with pytest.raises(LaunchError, match="backend nccl"):
        check_alone(NO_GPU, Placement(0, 1, 0, 1, 0, 1, ("a",)), SETTINGS, ("nccl",), None)


class Link:
    """An agent that answers with the reports of two equal ranks."""

    def __init__(self, make_report: Callable[..., Report]) -> None:
        self.make_report = make_report
        self.said: list[Report] = []

    def addresses(self) -> tuple[str, ...]:
        return ()

    def meet(self, said: Report) -> Table:
        self.said.append(said)
        return Table((self.make_report(0, host=said.host, node=said.node), said), "ab")


def sockets() -> set[int]:
    """Return the descriptors of this process that are sockets."""
    links = ((path, path.is_symlink() and path.readlink()) for path in Path("/proc/self/fd").iterdir())
    return {int(path.name) for path, link in links if str(link).startswith("socket:")}


def test_ports_that_the_backend_does_not_need_are_given_back(make_report: Callable[..., Report]) -> None:
    before = sockets()
    link = Link(make_report)
    identity = Identity("j1", 1, "/run")
    unknown = Placement(1, 2, 1, None, None, None, (None, None))
    placement, translation = meet(NO_GPU, unknown, identity, ("any",), link, "jobkit")  # type: ignore[arg-type]
    held = sockets() - before
    assert len(held) == 2  # the ring's and the layer's
    assert all(os.get_inheritable(fd) for fd in held)
    assert translation.variables["JOBKIT_BACKEND"] == "ring"
    host = os.uname().nodename
    assert placement == Placement(1, 2, 1, 2, 0, 1, (host, host))
    for fd in held:
        os.close(fd)
