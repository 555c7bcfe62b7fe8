from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobkit.env.gpu import deal, device_nodes, devices_of, identities, visible_devices
from jobkit.errors import LaunchError

NODES = ("null", "nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-caps")


@pytest.mark.parametrize(
    ("environ", "devices"),
    [
        ({}, ("0", "1")),
        ({"CUDA_VISIBLE_DEVICES": "3"}, ("3",)),
        ({"CUDA_VISIBLE_DEVICES": "2,3"}, ("2", "3")),
        ({"CUDA_VISIBLE_DEVICES": "GPU-1a, MIG-2b"}, ("GPU-1a", "MIG-2b")),
        ({"CUDA_VISIBLE_DEVICES": "MIG-GPU-1a/1/0"}, ("MIG-GPU-1a/1/0",)),
        ({"CUDA_VISIBLE_DEVICES": ""}, ()),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, ()),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, ()),
        ({"CUDA_VISIBLE_DEVICES": "0,-1,1"}, ("0",)),
        ({"CUDA_VISIBLE_DEVICES": "0,,1"}, ("0",)),
        ({"ROCR_VISIBLE_DEVICES": "0", "HIP_VISIBLE_DEVICES": "0"}, ("0", "1")),
    ],
)
def test_devices_are_what_cuda_would_see(environ: dict[str, str], devices: tuple[str, ...]) -> None:
    assert visible_devices(environ, NODES) == devices


def test_a_host_without_devices_has_none() -> None:
    assert visible_devices({}, ("null", "zero")) == ()


def test_the_names_in_dev_are_read() -> None:
    assert "null" in device_nodes()


@pytest.mark.parametrize(
    ("step_gpus", "visible", "expected"),
    [
        (None, "0", "0"),
        ("2", "0", "0@2"),  # relative to the task's cgroup
        ("1", "1", "1@1"),
        ("0,1", "0", "0"),  # narrowed after Slurm: the list is another's
        ("0", "", ""),
    ],
)
def test_slurm_tells_apart_what_every_task_calls_0(
    step_gpus: str | None, visible: str, expected: str
) -> None:
    environ = {} if step_gpus is None else {"SLURM_STEP_GPUS": step_gpus}
    names = tuple(visible.split(",")) if visible else ()
    assert ",".join(identities(environ, names)) == expected


# CUDA_VISIBLE_DEVICES of each task of a node under srun, measured with Slurm 22.05, and who gets which.
@pytest.mark.parametrize(
    ("lists", "dealt"),
    [
        ("0,1 0,1", "0 1"),  # --gpus-per-node=2
        ("0,1", "0"),  # its second node has one task
        ("0 1 2", "0 1 2"),  # --gpus-per-task=1
        ("0@2 0@3", "0@2 0@3"),  # the same, confined by cgroup
        ("0,1,2,3 0,1,2,3 0,1,2,3", "0 1 2"),  # --gpu-bind=none: unset, every device of the node
        ("1 0", "1 0"),  # --gpu-bind=map_gpu:1,0
        ("2,3 2,3", "2 3"),
        ("0,1 0,1 2,3 2,3", "0 1 2 3"),  # --gpu-bind=closest: a socket's devices for each of its tasks
        ("0,1 0", "1 0"),  # the second sees only what the first would take
        ("0,1 1,2 0", "1 2 0"),
        ("GPU-a,GPU-b GPU-a,GPU-b", "GPU-a GPU-b"),
        ("MIG-a MIG-b", "MIG-a MIG-b"),
        ("0,1 0,1 0,1", None),  # --gpus-per-node=2 with three tasks there
        ("0 1 0", None),  # --gpu-bind=single:1 with three tasks there
        ("0 0", None),
    ],
)
def test_each_rank_of_a_node_gets_a_device_that_it_sees_and_no_other_has(
    lists: str, dealt: str | None
) -> None:
    seen = tuple(tuple(each.split(",")) for each in lists.split())
    found = deal(seen, 1, share=False)
    if dealt is None:
        assert found is None
    else:
        assert found is not None
        assert " ".join(seen[rank][index] for rank, (index,) in enumerate(found)) == dealt


SEEN = st.lists(st.lists(st.sampled_from("abcd"), max_size=4, unique=True).map(tuple), max_size=4).map(tuple)


@given(SEEN)
def test_it_is_dealt_wherever_it_can_be(seen: tuple[tuple[str, ...], ...]) -> None:
    possible = any(len({*choice}) == len(seen) for choice in itertools.product(*seen))
    found = deal(seen, 1, share=False)
    assert (found is not None) == possible
    if found is not None:
        assert len({seen[rank][index] for rank, (index,) in enumerate(found)}) == len(seen)


@pytest.mark.parametrize(
    ("lists", "per_rank", "share", "dealt"),
    [
        ("abcd abcd", 2, False, "ab cd"),
        ("abcd abcd", 2, True, "ab cd"),
        ("abcd abcd", 3, True, "abc dab"),
        ("ab ab ab", 1, True, "a b a"),
        ("a b a", 1, True, "a b a"),
        ("abc a", 1, False, "b a"),
        ("abcd ab", 2, False, "cd ab"),
    ],
)
def test_several_devices_for_each_and_shared_devices(
    lists: str, per_rank: int, share: bool, dealt: str
) -> None:
    seen = tuple(map(tuple, lists.split()))
    own = [devices_of(i, seen[i], seen, per_rank, share=share) for i in range(len(seen))]
    assert " ".join(text.replace(",", "") for text in own) == dealt


def test_the_program_finds_cudas_names_and_not_those_that_tell_devices_apart() -> None:
    assert devices_of(1, ("0",), (("0@2",), ("0@3",)), 1, share=False) == "0"


def test_a_process_has_one_mig_device() -> None:
    seen = ("MIG-a", "MIG-b")
    assert devices_of(0, seen, (seen,), 1, share=False) == "MIG-a"
    with pytest.raises(LaunchError, match="gpus_per_rank: CUDA shows a process one MIG device"):
        devices_of(0, seen, (seen,), 2, share=False)


@pytest.mark.parametrize(
    ("lists", "per_rank", "share", "remedy"),
    [
        ("abcd " * 5, 1, False, "share_gpus"),
        ("abcd abcd", 3, False, "share_gpus"),
        ("- -", 1, True, "ask the scheduler"),
        ("- -", 1, False, "ask the scheduler"),
    ],
)
def test_more_ranks_than_devices_are_an_error(lists: str, per_rank: int, share: bool, remedy: str) -> None:
    seen = tuple(tuple(each.replace("-", "")) for each in lists.split())
    with pytest.raises(LaunchError, match=rf"{len(seen)} rank\(s\) on this node need(.|\n)*hint: .*{remedy}"):
        devices_of(0, seen[0], seen, per_rank, share=share)
