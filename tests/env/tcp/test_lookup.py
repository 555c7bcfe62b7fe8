from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jobkit.env.tcp import lookup
from jobkit.env.tcp.lookup import by_slurm, places, written
from jobkit.env.tcp.rendezvous import Rendezvous


def where(host: str, file: str = "") -> Rendezvous:
    return Rendezvous("j", 1, 1, 2, False, (host,), (1000, 1001), file, False)


@pytest.mark.parametrize(
    ("host", "known", "expected"),
    [
        ("n1", ["10.0.0.1"], ["10.0.0.1"]),
        ("n1", ["127.0.1.1"], []),  # of another host that is a mistake
        ("n2", ["127.0.1.1"], ["127.0.1.1", "127.0.0.1"]),  # Debian's entry for the host itself
        ("n2.cluster", ["10.0.0.2"], ["10.0.0.2", "127.0.0.1"]),
        ("n1", ["127.0.1.1", "10.0.0.1"], ["10.0.0.1"]),
        ("localhost", ["127.0.0.1"], ["127.0.0.1"]),
    ],
)
def test_a_name_becomes_addresses(
    host: str, known: list[str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "by_name", lambda _: known)
    assert lookup.resolve(host, "n2") == expected


def test_a_name_that_is_not_known_yet_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [[], ["10.0.0.1"], ["never asked again"]]
    monkeypatch.setattr(lookup, "by_name", lambda _: answers.pop(0))
    monkeypatch.setattr(lookup, "by_slurm", lambda _: [])
    look = places(where("pod-0.service"), "pod-1")
    there = [("10.0.0.1", 1000), ("10.0.0.1", 1001)]
    assert [look(), look(), look()] == [[], there, there]
    assert len(answers) == 1


def test_the_coordinators_file_is_read_once_it_is_there(tmp_path: Path) -> None:
    file = tmp_path / "coordinator-1.json"
    look = places(where("", str(file)), "n2")
    assert look() == []
    file.write_text('{"addresses": ["10.0.0.1", "127.0.0.1"], "port": 4000}')
    assert look() == [("10.0.0.1", 4000), ("127.0.0.1", 4000)]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"addresses": 1, "port": 2}', '{"addresses": ["a"], "port": "x"}']
)
def test_half_a_file_is_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "coordinator.json"
    file.write_text(text)
    assert written(str(file)) == []


def test_slurm_knows_nodes_that_nobody_else_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A stand-in for scontrol; the words are those of Slurm 22.05.
    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/sh\necho "NodeName=$3 Arch=x86_64 NodeAddr=10.7.0.9 NodeHostName=$3"\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert by_slurm("gpu-a08") == ["10.7.0.9"]


def test_without_slurm_there_is_nothing_to_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert by_slurm("gpu-a08") == []


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "ü..b"])
def test_what_can_be_no_name_has_no_address(host: str) -> None:
    assert lookup.by_name(host) == []


def test_a_name_is_resolved_without_the_codec_of_international_names() -> None:
    code = (
        "import sys; from jobkit.env.tcp.lookup import by_name; assert by_name('localhost'); "
        "sys.exit('encodings.idna' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
