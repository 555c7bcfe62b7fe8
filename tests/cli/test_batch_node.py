from __future__ import annotations

import dataclasses
import json

from jobkit.agent.request import Request
from jobkit.cli.batch_node import part

WHOLE = Request(
    "j",
    "launch",
    1,
    "/r",
    "pipe",
    0,
    3,
    6,
    0,
    2,
    ("a",),
    ("ring",),
    1,
    "/p",
    "/",
    {},
    (),
    {},
    "none",
    None,
    None,
    None,
)


def test_a_host_runs_its_own_ranks() -> None:
    plan = {"request": json.loads(json.dumps(dataclasses.asdict(WHOLE)))}
    assert part(plan, 0) == WHOLE
    assert part(plan, 1) == dataclasses.replace(WHOLE, node=1, first_rank=3)
