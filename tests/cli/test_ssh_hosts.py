from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobkit.cli import sending
from jobkit.errors import SpecError
from jobkit.plan import Plan


def planned(folder: Path, rows: Any, *lines: str) -> Plan:
    (folder / "h.json").write_text(json.dumps(rows))
    text = "\n".join(("run: x", "executor: ssh", "ssh: {hostfile: h.json}", *lines, ""))
    return sending.planned(sending.Wish("a.yaml", text, str(folder)), {})


def row(host: str, *ips: str) -> dict[str, object]:
    return {"ssh": host, "ips": list(ips)}


def test_a_hostfile_has_an_entry_for_each_rank(tmp_path: Path) -> None:
    rows = [row("h1", "10.0.0.1"), row("h2", "10.0.0.2"), row("h1", "10.0.1.1"), row("h2", "10.0.1.2")]
    made = planned(tmp_path, rows)
    assert (made.ranks, made.nodes, made.ssh.hosts) == (4, 2, ("h1", "h2"))
    assert made.ssh.addresses == (("10.0.0.1",), ("10.0.1.1",), ("10.0.0.2",), ("10.0.1.2",))


def test_a_spec_that_says_how_many_ranks_has_hosts_of_it_alone(tmp_path: Path) -> None:
    made = planned(tmp_path, [row("h1", "10.0.0.1"), row("h2", "10.0.0.2")], "ranks_per_node: 2")
    assert (made.ranks, made.ssh.hosts, made.ssh.addresses) == (4, ("h1", "h2"), ())


def test_what_of_it_is_not_used_is_told(tmp_path: Path) -> None:
    content = {"backend": "ring", "envs": ["A=b"], "hosts": [row("h1", "10.0.0.1")]}
    told = "; ".join(planned(tmp_path, content).notes)
    assert "h.json: its backend is not used" in told
    assert "h.json: its envs is not used" in told


def test_one_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"h.json: host 0: no host name"):
        planned(tmp_path, [{"ips": []}])
