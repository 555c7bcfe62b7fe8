"""The jaccl backend: where its ranks meet and what they are told, and what it does over the stand-in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobkit.errors import BackendError
from jobkit.native import jaccl
from jobkit.native.ring import Meeting

MESH = [[None, "a", "b"], ["a", None, "b"], ["a", "b", None]]


@pytest.fixture
def devices(tmp_path: Path) -> str:
    path = tmp_path / "devices.json"
    path.write_text(json.dumps(MESH))
    return str(path)


def contract(devices: str, rank: str = "1") -> dict[str, str]:
    return {"MLX_RANK": rank, "MLX_IBV_DEVICES": devices, "MLX_JACCL_COORDINATOR": "10.0.0.1:7000"}


def meeting(environ: dict[str, str]) -> Meeting:
    return jaccl.meeting(environ, jaccl.cables.read(environ["MLX_IBV_DEVICES"]))


def test_it_is_configured_where_devices_and_a_place_to_meet_are_named(devices: str) -> None:
    full = contract(devices)
    assert jaccl.is_configured(full)
    assert jaccl.is_configured({"JACCL_IBV_DEVICES": devices, "JACCL_COORDINATOR": "h:1"})
    assert jaccl.is_configured({"JACCL_IBV_DEVICES": devices, "JOBKIT_GANG_FILE": "g"})
    for name in ("MLX_IBV_DEVICES", "MLX_JACCL_COORDINATOR"):
        assert not jaccl.is_configured({**full, name: ""})


def test_the_ranks_meet_at_the_coordinator(devices: str) -> None:
    found = meeting(contract(devices))
    assert (found.rank, found.mode, found.hosts) == (1, "coordinator", [["10.0.0.1:7000"], [], []])
    assert meeting(contract(devices, "2")).job == found.job


def test_names_of_its_own_come_first(devices: str) -> None:
    environ = contract(devices) | {"JACCL_RANK": "2", "JACCL_COORDINATOR": "h:5"}
    found = meeting(environ)
    assert (found.rank, found.hosts[0]) == (2, ["h:5"])


@pytest.mark.parametrize(
    ("variables", "wrong"),
    [
        ({"MLX_RANK": ""}, "MLX_RANK: not set although MLX_JACCL_COORDINATOR is"),
        ({"MLX_RANK": "3"}, "MLX_RANK: not in .*, got 3, expected a rank from 0 to 2"),
        ({"MLX_JACCL_COORDINATOR": "host"}, "MLX_JACCL_COORDINATOR: no port, got 'host'"),
        (
            {"JOBKIT_JACCL_QP": "ud"},
            "JOBKIT_JACCL_QP: unknown kind of connection, got 'ud', expected one of auto",
        ),
        ({"JOBKIT_JACCL_GID": "256"}, "JOBKIT_JACCL_GID: not an index, got 256, expected 0 to 255"),
        ({"JOBKIT_JACCL_LIBRARY": "/nowhere/libibverbs.so.1"}, "backend jaccl: no verbs library: /nowhere"),
    ],
)
def test_what_cannot_be_used_is_an_error(
    devices: str, standin: Path, variables: dict[str, str], wrong: str
) -> None:
    pytest.importorskip("jobkit.native._core")
    environ = {"JOBKIT_JACCL_LIBRARY": str(standin), **contract(devices), **variables}
    with pytest.raises(BackendError) as caught:
        jaccl.init(environ, False)
    caught.match(wrong)


@pytest.mark.parametrize("ring", [{}, {"MLX_JACCL_RING": "1"}])
@pytest.mark.parametrize("strict", [False, True])
def test_a_broken_mesh_is_no_silent_group_of_one(tmp_path: Path, ring: dict[str, str], strict: bool) -> None:
    path = tmp_path / "broken.json"
    path.write_text(json.dumps([[None, "a", None], ["a", None, "b"], [None, "b", None]]))
    for rank in "012":
        with pytest.raises(BackendError, match="no mesh: ranks 0 and 2 have no cable"):
            jaccl.init(contract(str(path), rank) | ring, strict)


def test_elsewhere_it_is_silent_unless_it_must_not_be() -> None:
    assert jaccl.init({}, False) is None
    with pytest.raises(BackendError, match="backend jaccl: not configured, expected MLX_IBV_DEVICES"):
        jaccl.init({}, True)


def test_a_matrix_of_one_is_a_group_of_one(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text("[[null]]")
    group = jaccl.init(contract(str(path), "0"), True)
    assert group is not None
    assert (group.size(), group.backend) == (1, "jaccl")


def test_it_says_why_it_is_not_available(caplog: Any) -> None:
    pytest.importorskip("jobkit.native._core")
    caplog.set_level("INFO")
    assert not jaccl.is_available({"JOBKIT_JACCL_LIBRARY": "/nowhere/libibverbs.so.1"})
    assert "backend jaccl: not available: no verbs library: /nowhere/libibverbs.so.1" in caplog.text


SUM = """
x = np.arange(5) + world.rank()
print(dist.all_sum(x).tolist(), [link["kind"] for link in world.topology()["links"]])
"""


def test_two_ranks_add_up_over_a_cable(cabled: Callable[..., Any]) -> None:
    ranks = cabled(2)
    ranks.start(SUM)
    assert ranks.outputs() == [
        "[1, 3, 5, 7, 9] ['self', 'rc']\n",
        "[1, 3, 5, 7, 9] ['rc', 'self']\n",
    ]
