from __future__ import annotations

import json
from collections.abc import Callable

from jobkit.env import layer
from jobkit.env.gang import Table


def test_the_gang_file_is_the_table(make_table: Callable[..., Table]) -> None:
    assert json.loads(layer.gang_file(make_table(2), (("127.0.0.1",),) * 2, "j1", 3)) == {
        "schema": 1,
        "job": "j1",
        "attempt": 3,
        "size": 2,
        "ranks": [
            {"rank": 0, "host": "node-1", "node": "boot:1", "addresses": ["127.0.0.1"], "port": 30000},
            {"rank": 1, "host": "node-1", "node": "boot:1", "addresses": ["127.0.0.1"], "port": 30001},
        ],
    }


def test_its_variables_name_the_files() -> None:
    assert layer.variables("/g", "/t", "/v") == {
        "JOBKIT_GANG_FILE": "/g",
        "JOBKIT_TOKEN_FILE": "/t",
        "JOBKIT_VICTIM_FILE": "/v",
    }
