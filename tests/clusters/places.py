"""What processes that a launcher started say of their places, against where they really are."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SCRIPT = Path(__file__).with_name("say.sh")


def say(folder: Path) -> tuple[str, ...]:
    """Return the command that writes what `jobkit env` says to a folder."""
    return ("sh", str(_SCRIPT), str(folder))


@dataclass(frozen=True)
class Seen:
    """What one process said.

    Attributes:
        host: The name of the host that it ran on.
        said: What `jobkit env --json` printed.
        recorded: What `--record` wrote.
    """

    host: str
    said: dict[str, Any]
    recorded: Path


def seen(folder: Path) -> list[Seen]:
    """Return what the processes said, in rank order where they have ranks."""
    every = [
        Seen(file.name.partition(".")[0], json.loads(file.read_text()), file.with_suffix(".env"))
        for file in folder.glob("*.json")
    ]
    return sorted(every, key=lambda one: (one.said["placement"] or {"rank": -1})["rank"])


def check(every: list[Seen], launcher: str, hosts: list[str] | None = None) -> None:
    """Check that every process knows its launcher and its place; `hosts` are those expected in rank order."""
    assert [one.said["launcher"] for one in every] == [launcher] * len(every), _reasons(every)
    places = [one.said["placement"] for one in every]
    assert [place["rank"] for place in places] == list(range(len(every)))
    assert {place["size"] for place in places} == {len(every)}
    real = [one.host for one in every]
    if hosts is not None:
        assert real == hosts, f"got {real}"
    counts = Counter(real)
    for place, host in zip(places, real, strict=True):
        assert place["local_size"] in (None, counts[host]), place
        assert place["nodes"] in (None, len(counts)), place
        assert all(name in (None, there) for name, there in zip(place["hosts"], real, strict=True)), place
    # Open MPI 5 does not number the ranks of a node in the order of their ranks.
    local = sorted((host, place["local_rank"]) for place, host in zip(places, real, strict=True))
    assert local == sorted((host, i) for host, count in counts.items() for i in range(count))
    nodes = {(host, place["node"]) for place, host in zip(places, real, strict=True)}
    if None not in {node for _, node in nodes}:
        assert sorted(node for _, node in nodes) == list(range(len(counts))), nodes


def check_no_rank(every: list[Seen], *words: str) -> None:
    """Check that every process knows that it is no rank, and says why and what to do in these words."""
    assert every
    for one in every:
        assert (one.said["launcher"], one.said["placement"]) == (None, None), one.said["reason"]
        assert all(word in one.said["reason"] for word in words), one.said["reason"]


def _reasons(every: list[Seen]) -> str:
    return "\n".join(f"{one.host}: {one.said['reason']}" for one in every)
