"""Read which RDMA devices lead to whom: the matrix that MLX_IBV_DEVICES names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jobkit.errors import BackendError, complaint

Matrix = list[list[list[str]]]  # [i][j]: the devices of rank i that lead to rank j, one for each cable

FORM = 'an N x N list: null, "device" or ["device", ...] from row to column, null on the diagonal'
HINT = "`jobkit hosts discover` finds the cables and writes the file"
MOST_PAIRS = 8  # that an error names


def read(path: str) -> Matrix:
    """Return the matrix in the file at `path`.

    Raises:
        BackendError: The file cannot be read or is not such a matrix.

    Source: https://ml-explore.github.io/mlx/build/html/usage/distributed.html, "JACCL".
    """
    where = f"matrix of devices {path}"
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise BackendError(complaint(where, f"cannot be read: {error.strerror}", expected=FORM)) from None
    except UnicodeDecodeError:
        raise BackendError(complaint(where, "not UTF-8 text", expected=FORM)) from None
    return parse(text, where=where)


def parse(text: str, *, where: str) -> Matrix:
    """Return the matrix that `text` holds; `where` names it in errors (BackendError)."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BackendError(complaint(where, f"not JSON ({error})", got=text[:40], expected=FORM)) from None
    if not isinstance(value, list) or not value:
        raise BackendError(complaint(where, "not a matrix", got=_short(value), expected=FORM, hint=HINT))
    matrix = []
    for i, row in enumerate(value):
        if not isinstance(row, list) or len(row) != len(value):
            wrong = "not a row of the matrix"
            expected = f"a list of {len(value)}, as there are rows"
            raise BackendError(complaint(f"{where}: row {i}", wrong, got=_short(row), expected=expected))
        matrix.append([_devices(cell, f"{where}: row {i}, column {j}") for j, cell in enumerate(row)])
    for i, row in enumerate(matrix):
        if row[i]:
            wrong = f"rank {i} has a cable to itself"
            raise BackendError(complaint(f"{where}: row {i}, column {i}", wrong, got=row[i], expected="null"))
    return matrix


def choose(matrix: Matrix, *, prefers_ring: bool, where: str) -> Matrix:
    """Return the cables that a group uses: those of every pair, or those of the neighbours only.

    The ring is taken where it is asked for and there, or where there is no mesh.

    Raises:
        BackendError: There is neither; the message names the pairs without a cable.
    """
    n = len(matrix)
    everybody = [(i, j) for i in range(n) for j in range(i + 1, n)]
    neighbours = sorted({(min(i, j), max(i, j)) for i in range(n) for j in ((i + 1) % n,) if i != j})
    of_mesh = [_problem(matrix, *pair) for pair in everybody]
    of_ring = [_problem(matrix, *pair) for pair in neighbours]
    if not any(of_ring) and (prefers_ring or any(of_mesh)):
        return [
            [cell if (min(i, j), max(i, j)) in neighbours else [] for j, cell in enumerate(row)]
            for i, row in enumerate(matrix)
        ]
    if not any(of_mesh):
        return matrix
    wrong = f"no mesh: {_listed(of_mesh)}; and no ring in the order of the ranks: {_listed(of_ring)}"
    expected = "a cable between every two ranks, or between neighbours"
    raise BackendError(complaint(where, wrong, expected=expected, hint=HINT))


def _devices(cell: Any, where: str) -> list[str]:
    if cell is None:
        return []
    names = cell if isinstance(cell, list) else [cell]
    for name in names:
        if not isinstance(name, str) or not name:
            expected = 'null, "device" or ["device", ...]'
            raise BackendError(complaint(where, "not a device", got=_short(cell), expected=expected))
    return list(names)


def _problem(matrix: Matrix, i: int, j: int) -> str:
    """Return why two ranks have no cables between them, "" where they have."""
    there, back = len(matrix[i][j]), len(matrix[j][i])
    if there == back:
        return "" if there else f"ranks {i} and {j} have no cable"
    if there and back:
        return f"ranks {i} and {j} have {there} devices one way and {back} the other"
    here, other = (i, j) if there else (j, i)
    return f"ranks {i} and {j} have no cable (rank {here} names a device, rank {other} names none)"


def _listed(problems: list[str]) -> str:
    found = [problem for problem in problems if problem]
    more = f", and {len(found) - MOST_PAIRS} more" if len(found) > MOST_PAIRS else ""
    return ", ".join(found[:MOST_PAIRS]) + more


def _short(value: Any) -> Any:
    text = repr(value)
    return value if len(text) <= 60 else f"{text[:57]}..."
