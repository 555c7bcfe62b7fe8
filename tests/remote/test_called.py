from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobkit.agent.request import Request
from jobkit.remote.called import CalledCrew
from jobkit.remote.exchange import Exchange
from jobkit.remote.places import Place


@pytest.mark.parametrize(
    ("address", "found"), [("10.0.0.1", "10.0.0.1"), ("127.0.0.1", "node1"), ("", "node1"), ("::1", "node1")]
)
def test_ranks_look_for_the_first_host_where_others_reach_it(
    tmp_path: Path, address: str, found: str
) -> None:
    request = Request(
        "a", "a", 1, "/", "pipe", 0, 1, 1, 0, 1, ("true",), ("none",), 1, "python", "/", dict(os.environ), (),
        {}, "none", None, None, None,
    )  # fmt: skip
    exchange = Exchange()
    place = Place("h1", (0,), "python", None, str(tmp_path), "/", "node1", address)
    with CalledCrew(request, [place], None, exchange) as crew:
        crew.terminate()
        assert crew._coordinator() == found
    exchange.close()
