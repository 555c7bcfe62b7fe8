"""The matrix of devices: what it may hold, and whether its cables make a mesh or a ring."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobkit.errors import BackendError
from jobkit.native import cables


def matrix(text: Any) -> cables.Matrix:
    return cables.parse(json.dumps(text), where="m.json")


def mesh(n: int) -> cables.Matrix:
    return [[[f"d{j}"] if i != j else [] for j in range(n)] for i in range(n)]


def without(n: int, *pairs: tuple[int, int]) -> cables.Matrix:
    found = mesh(n)
    for i, j in pairs:
        found[i][j] = []
    return found


def test_a_cell_is_null_a_name_or_a_list_of_names() -> None:
    found = matrix([[None, "a"], [["b", "c"], None]])
    assert found == [[[], ["a"]], [["b", "c"], []]]
    assert matrix([[[]]]) == [[[]]]


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ({}, "m.json: not a matrix, got {}"),
        ([], "m.json: not a matrix"),
        ([[None, "a"]], "m.json: row 0: not a row of the matrix"),
        ([[None, "a"], "b"], "m.json: row 1: not a row of the matrix, got 'b'"),
        ([[None, 3], ["a", None]], "m.json: row 0, column 1: not a device, got 3"),
        ([[None, [""]], ["a", None]], "m.json: row 0, column 1: not a device"),
        ([["a", "a"], ["a", None]], "m.json: row 0, column 0: rank 0 has a cable to itself"),
    ],
)
def test_what_is_no_matrix_is_refused_with_its_place(value: Any, wrong: str) -> None:
    with pytest.raises(BackendError) as caught:
        matrix(value)
    assert wrong in str(caught.value)


@pytest.mark.parametrize("text", ["", "[[", '[["\\ud800"'])
def test_what_is_no_json_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "devices.json"
    path.write_text(text)
    with pytest.raises(BackendError, match="not JSON"):
        cables.read(str(path))


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="cannot be read: No such file"):
        cables.read(str(tmp_path / "nothing"))


@pytest.mark.parametrize("n", [2, 3, 4])
def test_a_mesh_is_used_whole_and_a_ring_of_it_where_it_is_wanted(n: int) -> None:
    assert cables.choose(mesh(n), prefers_ring=False, where="m") == mesh(n)
    ring = cables.choose(mesh(n), prefers_ring=True, where="m")
    assert [sum(bool(cell) for cell in row) for row in ring] == [min(2, n - 1)] * n


def test_where_there_is_no_mesh_the_ring_is_taken() -> None:
    ring = without(4, (0, 2), (2, 0), (1, 3), (3, 1))
    assert cables.choose(ring, prefers_ring=False, where="m") == ring


@pytest.mark.parametrize(
    ("gone", "wrong"),
    [
        (((0, 1), (1, 0)), "no mesh: ranks 0 and 1 have no cable; and no ring"),
        (((0, 1),), r"ranks 0 and 1 have no cable \(rank 1 names a device, rank 0 names none\)"),
    ],
)
def test_what_is_neither_names_the_pairs_without_a_cable(gone: Any, wrong: str) -> None:
    for prefers_ring in (False, True):
        with pytest.raises(BackendError, match=wrong):
            cables.choose(without(3, *gone), prefers_ring=prefers_ring, where="m")


def test_a_mesh_is_taken_where_a_ring_was_asked_for_that_is_none() -> None:
    both_ways = mesh(2)
    both_ways[0][1] = ["a", "b"]
    with pytest.raises(BackendError, match="ranks 0 and 1 have 2 devices one way and 1 the other"):
        cables.choose(both_ways, prefers_ring=True, where="m")


def test_of_many_pairs_some_are_named() -> None:
    with pytest.raises(BackendError, match="and 7 more; and no ring"):
        cables.choose([[[] for _ in range(6)] for _ in range(6)][:6], prefers_ring=False, where="m")
