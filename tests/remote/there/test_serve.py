from __future__ import annotations

from pathlib import Path

import pytest

from jobkit.errors import SpecError, SubmitError
from jobkit.remote import sync


def test_what_goes_wrong_there_is_told_and_the_connection_lives_on(machine, jobkit_home: Path) -> None:
    talk = machine.session()
    with pytest.raises(SpecError, match=r"there: .*no such job"):
        talk.ask({"ask": "cancel", "job": "nope"})
    head = {"ask": "look", "id": "nope", "token": "t"}
    assert talk.ask(head)[0]["record"] is None


def test_a_fault_there_ends_the_program_and_is_shown(machine) -> None:
    talk = machine.session()
    with pytest.raises(SubmitError, match="jobkit's program there ended: KeyError: 'job'"):
        talk.ask({"ask": "cancel"})


def test_a_tree_that_is_refused_in_the_middle_is_read_over(machine, tree: Path, jobkit_home: Path) -> None:
    for name in ("a", "b"):
        (tree / name).write_bytes(bytes(3 << 20))
    talk = machine.session()
    (machine.home / "trees").mkdir()
    name = sync.name(tree, {"JOBKIT_HOME": str(jobkit_home)})
    (machine.home / "trees" / name / "a").mkdir(parents=True)
    (machine.home / "trees" / name / "a" / "result").touch()
    with pytest.raises(SubmitError, match="a folder with files of its own there"):
        sync.send(talk, tree, {"JOBKIT_HOME": str(jobkit_home)}, lambda _: None)
