"""Operations of `jobkit.native.jax` under JAX's transformations."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from jobkit.native import jax as dist

rank = 0  # of the process that runs a program
HEAD = """from __future__ import annotations
import json, jax, jax.numpy as jnp, numpy as np
from jobkit import native
from jobkit.native import jax as dist
group = native.init(strict=True)
rank, size = group.rank(), group.size()
"""


@pytest.fixture
def ranks(tmp_path: Path) -> Callable[..., list[Any]]:
    """A function: run the body of `program()` on two ranks, return what each returns.

    Processes, since a callback of JAX holds the interpreter's lock of all ranks in one process.
    """

    def run(program: Callable[[], Any]) -> list[Any]:
        source = textwrap.dedent(inspect.getsource(program))
        file = tmp_path / "program.py"
        file.write_text(
            f"{HEAD}\n{source}\nopen(f'{tmp_path}/{{rank}}', 'w').write(json.dumps({program.__name__}()))\n"
        )
        command = [sys.executable, "-m", "jobkit", "launch", "-n", "2", "--", sys.executable, str(file)]
        environ = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=170, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads((tmp_path / str(rank)).read_text()) for rank in range(2)]

    return run


def test_operations_run_in_a_compiled_function_in_the_order_of_the_program(ranks: Any) -> None:
    def program() -> Any:
        @jax.jit
        def step(x):  # type: ignore[no-untyped-def]
            total = dist.all_sum(x)
            half = dist.all_sum(x, scale=0.5)
            most, least = dist.all_max(x), dist.all_min(x)
            whole, part = dist.all_gather(x), dist.sum_scatter(x)
            first, turned = dist.broadcast(x, 1), dist.all_to_all(x)
            return total, half, most, least, whole, part, first, turned

        found = []
        for kind in (jnp.float32, jnp.bfloat16):
            for _ in range(3):
                result = step(jnp.arange(2, dtype=kind) + 10 * rank)
            assert all(each.dtype == kind for each in result)
            found.append([each.astype(float).tolist() for each in result])
        assert dist.all_sum(jnp.ones(1)).tolist() == [2]
        return found

    shared = [[10, 12], [5, 6], [10, 11], [0, 1], [0, 1, 10, 11]]
    for rank, found in enumerate(ranks(program)):
        assert found == [[*shared, [10 + 2 * rank], [10, 11], [rank, 10 + rank]]] * 2


def test_gradients_follow_the_rules_of_mlx(ranks: Any) -> None:
    def program() -> Any:
        x = jnp.array([1.0, -2.0]) * (rank + 1)
        weights = jnp.arange(1.0, 5.0)
        losses = [
            lambda x: dist.all_sum(x * x).sum(),
            lambda x: dist.all_sum(x, scale=0.5).sum(),
            lambda x: dist.all_max(x * x).sum(),
            lambda x: (dist.all_gather(x) * weights).sum(),
            lambda x: (dist.all_to_all(x) * (rank + 1)).sum(),
        ]
        return [[f(jax.grad(loss))(x).tolist() for loss in losses] for f in (lambda g: g, jax.jit)]

    for rank, found in enumerate(ranks(program)):
        twice = [2.0 * (rank + 1), -4.0 * (rank + 1)]
        parts = [[1.0, 2.0], [3.0, 4.0]][rank]
        assert found == [[twice, [0.5, 0.5], twice, parts, [1, 2]]] * 2


def test_reductions_map_over_batches(ranks: Any) -> None:
    def program() -> Any:
        batch = jnp.arange(4.0).reshape(2, 2) + rank
        most = jax.jit(jax.vmap(dist.all_max, in_axes=1))
        return jax.vmap(dist.all_sum)(batch).tolist(), most(batch).tolist()

    assert ranks(program) == [[[[1, 3], [5, 7]], [[1, 3], [2, 4]]]] * 2


def test_what_has_no_gradient_says_so_while_it_is_traced(ranks: Any) -> None:
    def program() -> Any:
        said = []
        for operation in (dist.sum_scatter, lambda x: dist.broadcast(x, 0)):
            try:
                jax.grad(lambda x, operation=operation: operation(x).sum())(jnp.ones(2))
            except TypeError as error:
                said.append(str(error))
        return said

    for rank, said in enumerate(ranks(program)):
        assert [line.split(":")[0] for line in said] == ["sum_scatter", "broadcast"], rank
        assert all("jax.lax.stop_gradient" in line for line in said)


def test_a_shape_that_cannot_be_divided_is_refused_while_it_is_traced(ranks: Any) -> None:
    def program() -> Any:
        try:
            jax.jit(dist.sum_scatter)(jnp.ones(3))
        except ValueError as error:
            return str(error)

    for said in ranks(program):
        assert "got (3,), expected a first dimension divisible by 2 ranks" in said


def test_a_group_of_one_returns_the_input() -> None:
    x = jnp.arange(4.0)
    for operation in (dist.all_sum, dist.all_gather, dist.sum_scatter, dist.all_to_all):
        assert operation(x) is x
        assert jax.jit(operation)(x).tolist() == x.tolist()
        assert jax.grad(lambda x, run=operation: (run(x) * x).sum())(x).tolist() == (2 * x).tolist()
    assert jax.jit(lambda x: dist.all_sum(x, scale=0.5))(x).tolist() == (x / 2).tolist()
