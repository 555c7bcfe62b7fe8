"""The schedules as data: all ranks of a plan are run in one loop; its arithmetic counts contributions."""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobkit.native import _core

ALL_SUM, SUM_SCATTER, ALL_GATHER, BROADCAST, ALL_TO_ALL, GATHER, SCATTER, BARRIER = 0, 3, 6, 7, 8, 9, 10, 11
NOTHING = object()  # what uninitialised memory holds

sizes = st.integers(min_value=1, max_value=9)
counts = st.one_of(st.integers(min_value=0, max_value=12), st.integers(min_value=0, max_value=400))
topologies = st.sampled_from(["direct", "neighbours"])
# Widths that reach every threshold of bytes with few elements.
widths = st.sampled_from([1, 8, 1 << 10, 1 << 18])


class Rank:
    """One rank's buffers; an element is a Counter of the contributions that went into it."""

    def __init__(self, plan: tuple[Any, ...], given: list[Any], n_output: int, *, in_place: bool) -> None:
        self.name, n_scratch, self.stages = plan
        output = given if in_place else [NOTHING] * n_output
        self.buffers = {"input": given, "output": output, "scratch": [NOTHING] * n_scratch}

    def read(self, span: tuple[str, int, int]) -> list[Any]:
        buffer, offset, count = span
        assert offset + count <= len(self.buffers[buffer])
        return self.buffers[buffer][offset : offset + count]

    def write(self, span: tuple[str, int, int], values: list[Any]) -> None:
        buffer, offset, count = span
        assert len(values) == count
        assert offset + count <= len(self.buffers[buffer])
        self.buffers[buffer][offset : offset + count] = values

    def check_memory(self, receives: tuple[Any, ...], sends: tuple[Any, ...]) -> None:
        """Messages of one stage are under way at the same time: none may land on another."""
        taken: set[tuple[int, int]] = set()
        for _, _, (buffer, offset, count) in receives:
            cells = {(id(self.buffers[buffer]), i) for i in range(offset, offset + count)}
            assert not cells & taken, "two messages arrive in one place"
            taken |= cells
        for _, _, (buffer, offset, count) in sends:
            cells = {(id(self.buffers[buffer]), i) for i in range(offset, offset + count)}
            assert not cells & taken, "a message arrives where another one leaves from"

    def do(self, steps: tuple[Any, ...]) -> None:
        for kind, parts, out, _ in steps:
            values = [self.read(part) for part in parts]
            if kind == "copy":
                self.write(out, values[0])
            else:
                assert all(len(each) == out[2] for each in values)
                self.write(out, [sum(column, Counter()) for column in zip(*values, strict=True)])


def run(call: int, inputs: list[list[Any]], n_output: int, count: int, **options: Any) -> list[Rank]:
    """Run all ranks until none can go on; a message is matched by sender, receiver and number."""
    size = len(inputs)
    in_place = options.pop("in_place", False)
    plans = [_core.plan(call, rank, size, count, **options) for rank in range(size)]
    assert len({plan[0] for plan in plans}) == 1, "the ranks chose different schedules"
    ranks = [Rank(plan, list(inputs[r]), n_output, in_place=in_place) for r, plan in enumerate(plans)]
    network: dict[tuple[int, int, int], list[Any]] = {}
    at = [0] * size
    started = [False] * size
    while True:
        progress = False
        for r, rank in enumerate(ranks):
            while at[r] < len(rank.stages):
                before, receives, sends, after = rank.stages[at[r]]
                if not started[r]:
                    rank.do(before)
                    rank.check_memory(receives, sends)
                    for peer, message, span in sends:
                        if options.get("topology") == "neighbours":
                            assert (peer - r) % size in (1, size - 1), "not a neighbour"
                        assert (r, peer, message) not in network, "two messages with one number"
                        network[r, peer, message] = rank.read(span)
                    started[r] = progress = True
                if not all((peer, r, message) in network for peer, message, _ in receives):
                    break
                for peer, message, span in receives:
                    rank.write(span, network.pop((peer, r, message)))
                rank.do(after)
                at[r], started[r], progress = at[r] + 1, False, True
        if not progress:
            break
    assert all(at[r] == len(rank.stages) for r, rank in enumerate(ranks)), "the ranks wait for each other"
    assert not network, "a message that nobody receives"
    return ranks


def contributions(size: int, count: int) -> list[list[Any]]:
    """Return an input per rank whose elements all differ."""
    return [[Counter({(rank, i): 1}) for i in range(count)] for rank in range(size)]


def everything(size: int, i: int) -> Any:
    return Counter({(rank, i): 1 for rank in range(size)})


@given(sizes, counts, topologies, widths, st.booleans())
@settings(deadline=None)
def test_all_reduce_counts_every_element_of_every_rank_exactly_once(
    size: int, count: int, topology: str, width: int, in_place: bool
) -> None:
    inputs = contributions(size, count)

    ranks = run(
        ALL_SUM, inputs, count, count, topology=topology, n_bytes_per_element=width, in_place=in_place
    )

    for rank in ranks:
        assert rank.buffers["output"] == [everything(size, i) for i in range(count)]


@given(sizes, st.integers(0, 40), topologies)
@settings(deadline=None)
def test_reduce_scatter_gives_every_rank_its_own_block_of_the_sum(
    size: int, count: int, topology: str
) -> None:
    ranks = run(SUM_SCATTER, contributions(size, size * count), count, count, topology=topology)

    for r, rank in enumerate(ranks):
        assert rank.buffers["output"] == [everything(size, r * count + i) for i in range(count)]


@given(sizes, st.integers(0, 40), topologies)
@settings(deadline=None)
def test_all_gather_puts_every_block_in_its_place(size: int, count: int, topology: str) -> None:
    inputs = contributions(size, count)

    ranks = run(ALL_GATHER, inputs, size * count, count, topology=topology)

    for rank in ranks:
        assert rank.buffers["output"] == [element for block in inputs for element in block]


@given(sizes, counts, topologies, widths, st.data())
@settings(deadline=None)
def test_broadcast_reaches_everybody(
    size: int, count: int, topology: str, width: int, data: st.DataObject
) -> None:
    root = data.draw(st.integers(0, size - 1))
    wanted = [(root, i) for i in range(count)]
    inputs = [list(wanted) if rank == root else [NOTHING] * count for rank in range(size)]
    options = {"topology": topology, "root": root, "n_bytes_per_element": width, "in_place": True}

    for rank in run(BROADCAST, inputs, count, count, **options):
        assert rank.buffers["output"] == wanted


@given(sizes, st.integers(0, 20), topologies)
@settings(deadline=None)
def test_all_to_all_transposes_the_blocks(size: int, count: int, topology: str) -> None:
    inputs = [[(r, p, i) for p in range(size) for i in range(count)] for r in range(size)]

    for p, rank in enumerate(run(ALL_TO_ALL, inputs, size * count, count, topology=topology)):
        assert rank.buffers["output"] == [(r, p, i) for r in range(size) for i in range(count)]


@given(sizes, st.integers(0, 20), topologies, st.data())
@settings(deadline=None)
def test_gather_and_scatter_undo_each_other(
    size: int, count: int, topology: str, data: st.DataObject
) -> None:
    root = data.draw(st.integers(0, size - 1))
    inputs = [[(r, i) for i in range(count)] for r in range(size)]

    gathered = run(GATHER, inputs, size * count, count, topology=topology, root=root)[root].buffers["output"]
    assert gathered == [element for block in inputs for element in block]

    whole = [gathered if r == root else [] for r in range(size)]
    for r, rank in enumerate(run(SCATTER, whole, count, count, topology=topology, root=root)):
        assert rank.buffers["output"] == inputs[r]


@pytest.mark.parametrize(("size", "topology"), list(product([1, 2, 3, 4, 5, 8], ["direct", "neighbours"])))
def test_nobody_leaves_a_barrier_before_everybody_has_entered(size: int, topology: str) -> None:
    """Each rank's messages carry whom it has heard of; at the end that must be everybody."""
    plans = [_core.plan(BARRIER, rank, size, 0, topology) for rank in range(size)]
    heard = [{rank} for rank in range(size)]
    for stage in range(len(plans[0][2])):
        said = [set(each) for each in heard]
        for rank in range(size):
            for peer, message, _ in plans[rank][2][stage][1]:
                assert any(to == rank and n == message for to, n, _ in plans[peer][2][stage][2])
                heard[rank] |= said[peer]

    assert all(each == set(range(size)) for each in heard)


def test_a_small_sum_takes_one_round_and_a_large_one_two() -> None:
    small = _core.plan(ALL_SUM, 0, 4, 2, "direct")
    large = _core.plan(ALL_SUM, 0, 4, 1 << 20, "direct")

    assert (small[0], len(small[2])) == ("one-shot", 1)
    assert (large[0], len(large[2])) == ("two-shot", 2)


def test_two_shot_moves_no_byte_twice() -> None:
    size, count = 4, 1 << 20
    _, n_scratch, stages = _core.plan(ALL_SUM, 1, size, count, "direct")
    sent = sum(span[2] for stage in stages for _, _, span in stage[2])

    assert sent == 2 * (size - 1) * count // size
    assert n_scratch == (size - 1) * count // size
