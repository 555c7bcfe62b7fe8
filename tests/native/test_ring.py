"""Where the ranks of a ring meet, as the environment says it."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from jobkit.errors import BackendError
from jobkit.native import ring
from jobkit.native.ring import Meeting


@pytest.fixture
def hostfile(tmp_path: Path) -> str:
    path = tmp_path / "hosts.json"
    path.write_text('[["a:1"], ["b:2"]]')
    return str(path)


@pytest.fixture
def gang(tmp_path: Path) -> str:
    path = tmp_path / "gang.json"
    ranks = [
        {"rank": r, "host": "h", "node": "b:n", "addresses": ["127.0.0.1"], "port": 5 + r} for r in range(2)
    ]
    path.write_text(json.dumps({"schema": 1, "job": "j", "attempt": 3, "size": 2, "ranks": ranks}))
    return str(path)


@pytest.fixture
def token(tmp_path: Path) -> str:
    path = tmp_path / "token"
    path.write_text("5a" * 32)
    path.chmod(0o600)
    return str(path)


def test_mlxs_variables_give_a_hostfile_meeting(hostfile: str) -> None:
    meeting = ring.meeting({"MLX_RANK": "1", "MLX_HOSTFILE": hostfile})
    assert meeting == Meeting(rank=1, hosts=[["a:1"], ["b:2"]], mode="hostfile")


def test_the_shims_table_comes_first(hostfile: str, gang: str, token: str) -> None:
    environ = {
        "JOBKIT_RANK": "1",
        "MLX_RANK": "1",
        "MLX_HOSTFILE": hostfile,
        "JOBKIT_GANG_FILE": gang,
        "JOBKIT_TOKEN_FILE": token,
    }
    hosts = [["127.0.0.1:5"], ["127.0.0.1:6"]]
    assert ring.meeting(environ) == Meeting(1, hosts, mode="gang", job="j#3", token=b"Z" * 32)


def test_without_a_token_the_meeting_has_none(gang: str) -> None:
    assert ring.meeting({"JOBKIT_RANK": "0", "JOBKIT_GANG_FILE": gang}).token == b""


@pytest.mark.parametrize(
    ("variables", "wrong"),
    [
        ({}, "JOBKIT_RANK: not set although JOBKIT_GANG_FILE is"),
        ({"JOBKIT_RANK": "2"}, "JOBKIT_RANK: not in .*, got 2, expected a rank from 0 to 1"),
        ({"JOBKIT_RANK": "0", "MLX_RANK": "1"}, "MLX_RANK: contradicts JOBKIT_RANK=0, got 1"),
        ({"JOBKIT_RANK": "x"}, "JOBKIT_RANK: not a number"),
    ],
)
def test_a_rank_that_does_not_fit_the_table_is_an_error(
    gang: str, variables: dict[str, str], wrong: str
) -> None:
    with pytest.raises(BackendError, match=wrong):
        ring.meeting({"JOBKIT_GANG_FILE": gang, **variables})


def test_a_table_of_another_size_is_an_error(gang: str) -> None:
    environ = {"JOBKIT_RANK": "0", "JOBKIT_SIZE": "3", "JOBKIT_GANG_FILE": gang}
    with pytest.raises(BackendError, match=r"gang\.json: wrong number of ranks, got 2, expected 3"):
        ring.meeting(environ)


def test_a_hostfile_without_a_rank_is_an_error(hostfile: str) -> None:
    with pytest.raises(BackendError, match="MLX_RANK: not set although MLX_HOSTFILE is"):
        ring.init({"MLX_HOSTFILE": hostfile}, False)


def test_a_hostfile_of_another_size_is_an_error(hostfile: str) -> None:
    with pytest.raises(BackendError, match="wrong number of ranks, got 2, expected 3"):
        ring.init({"MLX_HOSTFILE": hostfile, "MLX_RANK": "0", "MLX_WORLD_SIZE": "3"}, False)


def test_a_rank_without_a_hostfile_is_harmless() -> None:
    assert ring.init({"MLX_RANK": "3"}, False) is None


def test_strict_names_what_is_missing() -> None:
    with pytest.raises(BackendError, match="JOBKIT_GANG_FILE, or both MLX_RANK and MLX_HOSTFILE"):
        ring.init({}, True)


def test_a_table_of_one_rank_is_a_group_of_one_and_opens_nothing(tmp_path: Path) -> None:
    path = tmp_path / "hosts.json"
    path.write_text('[["localhost:1"]]')
    group = ring.init({"MLX_HOSTFILE": str(path), "MLX_RANK": "0"}, True)
    assert group is not None
    assert (group.size(), group.backend) == (1, "ring")


CHECKED = """
calls = {calls}
try:
    calls[world.rank()]()
except BackendError as error:
    print(error)
try:
    dist.barrier()
except BackendError:
    print("failed")
"""


@pytest.mark.parametrize(
    ("calls", "wrong"),
    [
        (
            "(dist.barrier, lambda: dist.all_sum(np.ones(3)))",
            "calls differ: rank 0 ({host}) called barrier(), rank 1 ({host}) called "
            "all_sum(float64, 3 elements)",
        ),
        (
            "(lambda: dist.all_sum(np.ones(3)), lambda: dist.all_sum(np.ones(3), scale=0.5))",
            "calls differ: rank 0 ({host}) called all_sum(float64, 3 elements), rank 1 ({host}) called "
            "all_sum(float64, 3 elements), scaled by 0.5",
        ),
        (
            "[lambda: dist.broadcast(np.ones(2**16), world.rank(), wait=False).wait()] * 2",
            "rank 1 ({host}) called broadcast",
        ),
    ],
    ids=["name", "scale", "root"],
)
def test_with_jobkit_check_calls_that_differ_fail_before_anything_of_them_is_sent(
    run_processes: Any, calls: str, wrong: str
) -> None:
    pytest.importorskip("jobkit.native._core")
    for output in run_processes(2, CHECKED.format(calls=calls), JOBKIT_CHECK="1"):
        first, last = output.splitlines()
        assert wrong.format(host=socket.gethostname()) in first
        assert last == "failed"


def test_with_jobkit_check_calls_that_agree_work(run_processes: Any) -> None:
    pytest.importorskip("jobkit.native._core")
    program = """
    part = world.split(0)
    dist.barrier(group=part)
    x = np.full(3, world.rank())
    print(dist.all_sum(x, group=part).tolist(), dist.sendrecv(x, 1 - world.rank(), 1 - world.rank()).tolist())
    """
    found = run_processes(2, program, JOBKIT_CHECK="1")
    assert found == ["[1, 1, 1] [1, 1, 1]\n", "[1, 1, 1] [0, 0, 0]\n"]


def test_jobkit_check_on_one_rank_is_for_all(run_processes: Any) -> None:
    pytest.importorskip("jobkit.native._core")
    program = """
    try:
        dist.all_sum(np.full(2 + world.rank(), 7))
    except BackendError as error:
        print(error)
    """
    prelude = "import os\nos.environ['JOBKIT_CHECK'] = os.environ['MLX_RANK']\n"
    for output in run_processes(2, program, before=prelude):
        assert "all_sum #1" not in output  # nothing of it was sent
        assert "called all_sum(int64, 2 elements)" in output


def test_with_jobkit_check_messages_go_unasked_and_are_compared_where_they_arrive(run_processes: Any) -> None:
    pytest.importorskip("jobkit.native._core")
    program = """
    try:
        if world.rank() == 0:
            for tag in range(3):
                dist.send(np.full(tag + 1, 7), 1, tag)  # nobody receives yet
            dist.barrier()
            dist.barrier()
        else:
            dist.barrier()
            print(dist.recv(2, np.int64, 0, tag=1).tolist())
            dist.recv(4, np.int64, 0, tag=2)
    except BackendError as error:
        print(error)
    """
    sender, receiver = run_processes(2, program, JOBKIT_CHECK="1")
    host = socket.gethostname()
    wrong = (
        f"calls differ: rank 0 ({host}) called send(int64, 3 elements, tag=2), "
        f"rank 1 ({host}) called recv(int64, 4 elements, tag=2)"
    )
    assert receiver.splitlines()[0] == "[7, 7]"
    assert wrong in receiver.splitlines()[1]
    assert wrong in sender


def test_an_instruction_set_that_the_processor_lacks_is_refused_before_anybody_is_called() -> None:
    core = pytest.importorskip("jobkit.native._core")
    where = ring.Meeting(rank=0, hosts=[["127.0.0.1:1"], ["127.0.0.1:2"]], mode="gang")
    expected = "JOBKIT_SIMD: unknown instruction set, got 'mmx', expected one of .*portable"
    with pytest.raises(BackendError, match=expected):
        ring.connect(where, {"JOBKIT_SIMD": "mmx"})
    assert core.instruction_sets()[-1] == "portable"


def test_an_instruction_set_can_be_chosen(run_processes: Any) -> None:
    pytest.importorskip("jobkit.native._core")
    program = "print(dist.all_sum(np.ones(100, np.float16)).sum())"
    assert run_processes(2, program, JOBKIT_SIMD="portable") == ["200.0\n"] * 2
