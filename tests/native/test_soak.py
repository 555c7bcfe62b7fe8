"""Ten thousand mixed operations on four ranks: the same hash on all of them, and again in a second run."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from jobkit import native
from jobkit.native.group import Group

pytest.importorskip("jobkit.native._core")

RANKS = 4
OPERATIONS = 10_000
SEED = 20_240_229
TYPES = [np.float32, np.float16, ml_dtypes.bfloat16, np.float64, np.int32, np.uint8, np.complex64, np.bool_]
COUNTS = [0, 1, 3, 4, 5, 64, 1000, 1001, 20_000]


class Rank:
    """One rank's way through the operations; all ranks draw the same random numbers.

    Attributes:
        common: A hash of what every rank got alike.
        own: A hash of what only this rank got.
    """

    def __init__(self, world: Group) -> None:
        self.world = world
        self.draw = random.Random(SEED)
        self.common, self.own = hashlib.sha256(), hashlib.sha256()
        self.pool = np.random.default_rng(world.rank()).standard_normal(40_000).astype(np.float32)
        self.groups = [world]
        self.handles: list[Any] = []

    def array(self, group: Group, per_rank: bool = False) -> Any:
        """Return a window of this rank's pool, as some type; all ranks draw the same size and type."""
        count = self.draw.choice(COUNTS) // (4 if per_rank else 1) * (group.size() if per_rank else 1)
        begin, dtype = self.draw.randrange(len(self.pool) - count), self.draw.choice(TYPES)
        window = self.pool[begin : begin + count]
        return (window * 3).astype(dtype) if dtype is not np.uint8 else np.abs(window * 9).astype(dtype)

    def step(self) -> None:
        kinds = [self.reduce, self.scatter_sum, self.gather_all, self.broadcast, self.exchange, self.message]
        kinds += [self.later, self.later, self.gather_one, self.wait]
        kind = self.split if self.draw.randrange(500) == 0 else self.draw.choice(kinds)
        kind(self.draw.choice(self.groups))

    def reduce(self, group: Group) -> None:
        call = self.draw.choice([native.all_sum, native.all_max, native.all_min])
        self.say(group, call(self.array(group), group=group))

    def scatter_sum(self, group: Group) -> None:
        op = self.draw.choice(["sum", "max", "min"])
        self.keep(native.sum_scatter(self.array(group, per_rank=True), op, group=group))

    def gather_all(self, group: Group) -> None:
        self.say(group, native.all_gather(self.array(group), group=group))

    def broadcast(self, group: Group) -> None:
        root = self.draw.randrange(RANKS) % group.size()
        self.say(group, native.broadcast(self.array(group), root, group=group))

    def exchange(self, group: Group) -> None:
        self.keep(native.all_to_all(self.array(group, per_rank=True), group=group))

    def gather_one(self, group: Group) -> None:
        root = self.draw.randrange(RANKS) % group.size()
        got = native.gather(self.array(group), root, group=group)
        if got is not None:
            self.keep(got)

    def message(self, group: Group) -> None:
        x, tag, distance = self.array(group), self.draw.randrange(4), 1 + self.draw.randrange(RANKS)
        if group.size() > 1:
            dst, src = (group.rank() + distance) % group.size(), (group.rank() - distance) % group.size()
            if distance % group.size():
                self.keep(native.sendrecv(x, dst=dst, src=src, tag=tag, group=group))

    def later(self, group: Group) -> None:
        self.handles.append((group, native.all_sum(self.array(group), group=group, wait=False)))

    def wait(self, _: Group) -> None:
        """Take what was begun, the last first."""
        while self.handles:
            of, handle = self.handles.pop()
            self.say(of, handle.wait())

    def split(self, group: Group) -> None:
        """Two groups of two, or one of all in another order; groups are used in the same order everywhere."""
        self.wait(group)
        if len(self.groups) > 3:
            self.groups.pop(1)
        key = self.world.size() - self.world.rank()
        color = self.world.rank() // 2 if self.draw.randrange(2) else 0
        made = self.world.split(color, key)
        assert made is not None
        self.groups.append(made)

    def say(self, group: Group, result: Any) -> None:
        """Note a result that all ranks of the group have; ranks of other groups have another one."""
        (self.common if group.size() == RANKS else self.own).update(result.tobytes())

    def keep(self, result: Any) -> None:
        self.own.update(result.tobytes())


def soak(world: Group) -> tuple[str, str]:
    rank = Rank(world)
    for _ in range(OPERATIONS):
        rank.step()
    rank.wait(world)
    return rank.common.hexdigest(), rank.own.hexdigest()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("links", ["tcp", "shm"])
def test_ten_thousand_operations_give_the_same_hashes_twice(
    run_ranks: Callable[..., list[Any]], links: str
) -> None:
    first, second = (run_ranks(RANKS, soak, shared_memory=links == "shm", deadline_s=400.0) for _ in range(2))
    assert len({common for common, _ in first}) == 1
    assert len({own for _, own in first}) > 1
    assert first == second
