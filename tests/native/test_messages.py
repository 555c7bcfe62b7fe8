"""Messages between any two ranks: order, tags, kinds, and what is refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import jobkit.native as dist
from jobkit.errors import BackendError
from jobkit.native import arrays
from jobkit.native.group import Group

pytest.importorskip("jobkit.native._core")

Run = Callable[..., list[Any]]


@pytest.mark.parametrize("n_ranks", [2, 3, 5])
def test_every_rank_reaches_every_other(run_ranks: Run, n_ranks: int) -> None:
    def program(group: Group) -> None:
        rank = group.rank()
        for source, destination in itertools.permutations(range(n_ranks), 2):
            value = 100 * source + destination
            if rank == source:
                dist.send(np.array([value]), destination, group=group)
            elif rank == destination:
                assert dist.recv((1,), np.int64, source, group=group).tolist() == [value]

    run_ranks(n_ranks, program)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4), (300_000,)], ids=str)
def test_every_type_and_shape_arrives_as_it_was_sent(run_ranks: Run, shape: tuple[int, ...]) -> None:
    def program(group: Group) -> None:
        for name in arrays.DTYPES:
            dtype = ml_dtypes.bfloat16 if name == "bfloat16" else name
            x = (np.arange(np.prod(shape, dtype=int)) % 2).astype(dtype).reshape(shape)
            if group.rank() == 0:
                assert dist.send(x, 1, group=group) is x
            else:
                found = dist.recv(shape, name, 0, group=group)
                assert (found.dtype, found.shape) == (x.dtype, x.shape)
                assert found.tobytes() == x.tobytes()

    run_ranks(2, program)


def test_messages_with_one_tag_keep_their_order_and_tags_are_apart(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        if group.rank() == 0:
            for value, tag in ((1, 7), (2, 8), (3, 7), (4, 0)):
                dist.send(np.array(value), 1, tag, group=group)
            return None
        return [dist.recv((), np.int64, 0, tag, group=group).item() for tag in (0, 8, 7, 7)]

    assert run_ranks(2, program)[1] == [4, 2, 1, 3]


def test_a_message_may_be_sent_long_before_it_is_received(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        if group.rank() == 0:
            dist.send(np.arange(1000), 1, group=group)
        dist.barrier(group=group)
        return dist.recv(1000, np.int64, 0, group=group).sum() if group.rank() == 1 else None

    assert run_ranks(2, program)[1] == 499_500


def test_what_is_like_an_array_comes_in_its_kind(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        if group.rank() == 0:
            for x in (b"abc", np.float32(2), np.ones((2, 2))):
                dist.send(x, 1, group=group)
            return None
        return [dist.recv_like(x, 0, group=group) for x in (b"...", np.float32(0), np.empty((2, 2)))]

    text, number, matrix = run_ranks(2, program)[1]
    assert text == b"abc"
    assert type(number) is np.float32
    assert matrix.tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("n", [3, 2**20])
def test_all_ranks_may_send_and_receive_at_once(run_ranks: Run, n: int) -> None:
    def program(group: Group) -> float:
        rank, size = group.rank(), group.size()
        x = np.full(n, float(rank))
        return float(dist.sendrecv(x, (rank + 1) % size, (rank - 1) % size, group=group).mean())

    assert run_ranks(3, program) == [2.0, 0.0, 1.0]


def test_both_directions_may_differ_in_shape(run_ranks: Run) -> None:
    def program(group: Group) -> tuple[int, ...]:
        other = 1 - group.rank()
        shapes = ((2, 3), (4,))
        own, theirs = np.zeros(shapes[group.rank()]), np.zeros(shapes[other])
        return dist.sendrecv(own, other, other, like=theirs, group=group).shape

    assert run_ranks(2, program) == [(4,), (2, 3)]


def test_wrong_arguments_are_refused_before_anything_is_sent(run_ranks: Run) -> None:
    def program(group: Group) -> Any:
        rank, x = group.rank(), np.zeros(2)
        other = 1 - rank
        wrong: list[tuple[type[Exception], str, Callable[[], Any]]] = [
            (ValueError, "dst: no such rank, got 2, expected 0 to 1", lambda: dist.send(x, 2, group=group)),
            (ValueError, "dst: no such rank, got -1", lambda: dist.send(x, -1, group=group)),
            (ValueError, "dst: this rank itself", lambda: dist.send(x, rank, group=group)),
            (ValueError, "src: this rank itself", lambda: dist.recv(2, "float64", rank, group=group)),
            (ValueError, "src: no such rank", lambda: dist.recv_like(x, 5, group=group)),
            (ValueError, "tag: not a tag, got -1", lambda: dist.send(x, other, -1, group=group)),
            (
                ValueError,
                "shape: not a size, got -1, expected sizes >= 0",
                lambda: dist.recv((2, -1), "float64", other, group=group),
            ),
            (ValueError, "timeout: not a time", lambda: dist.send(x, other, group=group, timeout=-1)),
            (TypeError, "dtype: unknown", lambda: dist.recv(2, "float31", other, group=group)),
            (TypeError, "dtype: not given", lambda: dist.recv(2, None, other, group=group, timeout=1)),
            (TypeError, "dtype: not supported", lambda: dist.recv(2, np.complex128, other, group=group)),
            (TypeError, "not an array", lambda: dist.send("text", other, group=group)),
            (TypeError, "dst: not an integer, got 1.0", lambda: dist.send(x, 1.0, group=group)),  # type: ignore[arg-type]
            (TypeError, "tag: not an integer, got 'N", lambda: dist.send(x, other, None, group=group)),  # type: ignore[arg-type]
            (
                TypeError,
                "shape: not an integer, got 2.5",
                lambda: dist.recv(2.5, "float64", other, group=group),
            ),
            (
                ValueError,
                "sendrecv: like: another type",
                lambda: dist.sendrecv(x, other, other, like=np.zeros(2, "f4"), group=group),
            ),
        ]
        for kind, text, call in wrong:
            with pytest.raises(kind, match=text):
                call()
        return dist.all_sum(1, group=group).item()

    assert run_ranks(2, program) == [2, 2]


def test_a_message_of_another_length_is_an_error_that_names_both(run_ranks: Run) -> None:
    def program(group: Group) -> str:
        with pytest.raises(BackendError) as caught:
            if group.rank() == 0:
                dist.send(np.zeros(3), 1, group=group)
                dist.barrier(group=group)
            else:
                dist.recv(4, np.float64, 0, group=group)
        return str(caught.value)

    receiver = run_ranks(2, program, timeout_s=20.0)[1]
    assert " called send(float64, 3 elements, tag=0), rank 1 (" in receiver
    assert " called recv(float64, 4 elements, tag=0)" in receiver


def test_a_message_that_does_not_come_is_an_error_after_its_timeout(run_ranks: Run) -> None:
    def program(group: Group) -> str | None:
        if group.rank() == 0:
            with pytest.raises(BackendError) as caught:
                dist.recv(1, np.float64, 1, group=group, timeout=0.3)
            return str(caught.value)
        with pytest.raises(BackendError):
            dist.barrier(group=group, timeout=20)
        return None

    text = run_ranks(2, program)[0]
    assert "recv" in text
    assert "rank 1" in text
