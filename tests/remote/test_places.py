from __future__ import annotations

from pathlib import Path

import pytest

from jobkit.plan import Plan, plan
from jobkit.remote import places
from jobkit.spec import parse


def planned(cwd: Path, ssh: str = "", rest: str = "") -> Plan:
    text = f"run: x\nexecutor: ssh\nssh: {{hosts: [h1, h2]{ssh}}}\n{rest}"
    return plan(parse(text, "a.yaml", {}), cwd=str(cwd))


def test_ranks_are_spread_over_the_hosts_in_their_order(tmp_path: Path) -> None:
    found = places.expected(planned(tmp_path, rest="ranks: 4\n"))
    assert [(place.host, place.ranks) for place in found] == [("h1", (0, 1)), ("h2", (2, 3))]
    assert len(places.expected(planned(tmp_path, rest="ranks: 1\n"))) == 1


@pytest.mark.parametrize(
    ("ssh", "workdir", "package"),
    [
        ("", "<run folder>/tree/sub", "<jobkit>"),
        (", workdir: /data", "/data", "<jobkit>"),
        (", sync: false", "{cwd}/sub", None),
        (", sync: false, workdir: data", "data", None),
    ],
)
def test_ranks_start_in_the_tree_that_is_sent_or_where_the_spec_says(
    tree: Path, ssh: str, workdir: str, package: str | None
) -> None:
    (tree / ".git").mkdir()
    (tree / "sub").mkdir()
    place = places.expected(planned(tree, ssh, "workdir: sub\n"))[0]
    assert place.package == package
    assert place.workdir in (workdir.format(cwd=tree), "<run folder>/tree")


def test_they_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = places.expected(planned(tmp_path, ", python: /p/python", "ranks_per_node: 2\n"))
    (tmp_path / places.FILE).write_text(places.dumps(found))
    assert places.read(tmp_path) == found
    assert places.command(found[0]).startswith("/p/python -c ")
