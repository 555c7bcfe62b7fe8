"""Programs of `torch.compile` call operations."""

from __future__ import annotations

from typing import Any

PROGRAM = """
    import torch
    import jobkit.native.torch

    @torch.compile(backend="eager")
    def step(x):
        half = world.split(0)
        y = dist.all_sum(x * 2, wait=False).wait() + dist.all_gather(x, group=half)[:3] + world.rank()
        return y.sum()

    x = torch.ones(3, requires_grad=True)
    y = step(x)
    y.backward()
    print(y.item(), x.grad.tolist())
"""


def test_an_operation_in_a_compiled_function_breaks_the_graph_and_runs_as_it_is(run_processes: Any) -> None:
    # all_sum passes the gradient on, and rank 0's rows are the first of what is gathered.
    assert run_processes(2, PROGRAM) == ["15.0 [3.0, 3.0, 3.0]\n", "18.0 [2.0, 2.0, 2.0]\n"]
