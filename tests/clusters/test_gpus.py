"""Which GPU each rank gets, by what srun shows to each task in every way to bind them."""

from __future__ import annotations

import json
import sys

import pytest
from clusters.slurm import Slurm

from jobkit.env.gpu import deal

SEEN = """
import json, os
from jobkit.env.gpu import identities, visible_devices
visible = visible_devices(os.environ, tuple(f"nvidia{i}" for i in range(4)))
print(json.dumps([int(os.environ["SLURM_PROCID"]), os.uname().nodename, identities(os.environ, visible)]))
"""


def seen(cluster: Slurm, *flags: str) -> dict[str, list[tuple[str, ...]]]:
    """Return what each task of a node sees, in the order of the ranks, by node."""
    step = cluster.run("srun", "-N2", *flags, sys.executable, "-c", SEEN)
    nodes: dict[str, list[tuple[str, ...]]] = {}
    for _, node, devices in sorted(map(json.loads, step.stdout.splitlines())):
        nodes.setdefault(node, []).append(tuple(devices))
    return nodes


# Four tasks on two nodes are three and one.
@pytest.mark.parametrize(
    "flags",
    [
        ("--gpus-per-node=3",),
        ("--gpus-per-task=1",),
        ("--gpus-per-task=1", "--gpu-bind=none"),
        ("--gpus-per-node=4", "--gpu-bind=map_gpu:1,0,3"),
        ("--gpus-per-node=3", "--gpu-bind=single:1"),
        (),
    ],
)
def test_every_rank_has_a_gpu_of_its_own(cluster: Slurm, flags: tuple[str, ...]) -> None:
    for lists in seen(cluster, "-n4", *flags).values():
        dealt = deal(tuple(lists), 1, share=False)
        assert dealt is not None, lists
        own = {lists[rank][index] for rank, (index,) in enumerate(dealt)}
        assert len(own) == len(lists)


@pytest.mark.parametrize("flags", [("--gpus-per-node=2",), ("--gpus-per-node=2", "--gpu-bind=single:1")])
def test_three_ranks_on_two_gpus_have_none_of_their_own(cluster: Slurm, flags: tuple[str, ...]) -> None:
    first = max(seen(cluster, "-n4", *flags).values(), key=len)
    assert deal(tuple(first), 1, share=False) is None
    assert deal(tuple(first), 1, share=True) is not None
