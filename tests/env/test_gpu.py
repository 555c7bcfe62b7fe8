from __future__ import annotations

import pytest

from jobkit.env.gpu import device_nodes, devices_of, visible_devices
from jobkit.errors import LaunchError

NODES = ("null", "nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-caps")


@pytest.mark.parametrize(
    ("environ", "devices"),
    [
        ({}, ("0", "1")),
        ({"CUDA_VISIBLE_DEVICES": "3"}, ("3",)),
        ({"CUDA_VISIBLE_DEVICES": "GPU-1a, MIG-2b"}, ("GPU-1a", "MIG-2b")),
        ({"CUDA_VISIBLE_DEVICES": ""}, ()),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, ()),
        ({"CUDA_VISIBLE_DEVICES": "0,-1,1"}, ("0",)),
    ],
)
def test_devices_are_what_cuda_would_see(environ: dict[str, str], devices: tuple[str, ...]) -> None:
    assert visible_devices(environ, NODES) == devices


def test_a_host_without_devices_has_none() -> None:
    assert visible_devices({}, ("null", "zero")) == ()


def test_the_names_in_dev_are_read() -> None:
    assert "null" in device_nodes()


@pytest.mark.parametrize(
    ("local_rank", "per_rank", "share", "expected"),
    [(0, 1, False, "a"), (1, 1, False, "b"), (1, 2, False, "c,d"), (5, 1, True, "b"), (1, 3, True, "d,a,b")],
)
def test_each_rank_gets_its_own(local_rank: int, per_rank: int, share: bool, expected: str) -> None:
    assert devices_of(local_rank, per_rank, ("a", "b", "c", "d"), share=share) == expected


@pytest.mark.parametrize(("local_rank", "per_rank", "devices"), [(4, 1, "abcd"), (1, 3, "abcd"), (0, 1, "")])
def test_more_ranks_than_devices_are_an_error(local_rank: int, per_rank: int, devices: str) -> None:
    with pytest.raises(LaunchError, match="share_gpus"):
        devices_of(local_rank, per_rank, tuple(devices), share=False)
