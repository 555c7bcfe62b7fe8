from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import jobkit
from jobkit.cli import sending
from jobkit.errors import SpecError, SubmitError
from jobkit.jobs import find, record, watch
from jobkit.remote import connection, session, submission

SBATCH = """#!/bin/sh
case "$1" in --test-only) exit 0;; esac
echo "$@" >> "$JOBKIT_HOME/sent"
test ! -e "$JOBKIT_HOME/garbage" || exit 3
echo 'Submitted batch job 7'
"""
SQUEUE = "#!/bin/sh\n"


@pytest.fixture
def submit(
    machine, tree: Path, jobkit_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., sending.Submission]:
    """Submit a job from the tree through a login node whose Slurm is a recording."""
    (tmp_path / "bin").mkdir()
    for name, text in {"sbatch": SBATCH, "squeue": SQUEUE, "scontrol": "#!/bin/sh\nexit 1\n"}.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o700)
    machine.before = f"PATH='{tmp_path}/bin':$PATH; export PATH; unset VALUE SECRET; "
    monkeypatch.setattr(submission.time, "sleep", lambda _: None)
    monkeypatch.chdir(tree)

    def run(*lines: str, job_id: str = "a") -> sending.Submission:
        head = f"executor: slurm\nrun: cmd\nslurm: {{login: there}}\npython: {sys.executable}\n"
        wish = sending.Wish("a.yaml", "\n".join((head, *lines, "")), str(tree))
        environ = dict(os.environ)
        prepared = sending.prepared(wish, sending.planned(wish, environ), job_id, environ)
        sending.send(wish, prepared, environ)
        return prepared

    return run


def known(job_id: str = "a") -> record.Record:
    return watch.look(find.one(job_id, os.environ))


def test_values_travel_and_stay_out_of_what_is_kept_here(
    submit: Callable[..., sending.Submission],
    machine,
    jobkit_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VALUE", "forwarded, 'quoted'")
    monkeypatch.setenv("SECRET", "very secret")
    sent = submit("forward: [VALUE]", "secrets: [SECRET]")
    assert "very secret" not in str(sent)
    assert [words for words in sent.command if "VALUE" in words or "quoted" in words] == []
    there = machine.home / "jobs" / "a"
    assert '"VALUE": "forwarded, \'quoted\'"' in (there / "environ.json").read_text()
    assert "very secret" in (there / "secrets").read_text()
    assert (there / "secrets").stat().st_mode & 0o777 == 0o600
    here = [path.read_bytes() for path in jobkit_home.rglob("*") if path.is_file()]
    assert not any(b"very secret" in data for data in here)


def test_a_broken_connection_before_the_answer_makes_no_second_job(
    submit: Callable[..., sending.Submission],
    machine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ask, asked = session.Session.ask, []

    def losing(talk: session.Session, head: dict[str, object], body: bytes = b"") -> object:
        answer = ask(talk, head, body)
        if head["ask"] == "submit":
            asked.append(head)
            if len(asked) < 3:
                raise connection.LostError("there: the connection broke")
        return answer

    monkeypatch.setattr(session.Session, "ask", losing)
    submit()
    assert len(asked) == 3
    assert len((machine.home / "sent").read_text().splitlines()) == 1
    assert known().scheduler_id == "7"


def test_a_job_that_cannot_be_asked_about_is_neither_lost_nor_sent_again(
    submit: Callable[..., sending.Submission],
    machine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ask = session.Session.ask

    def losing(talk: session.Session, head: dict[str, object], body: bytes = b"") -> object:
        if head["ask"] == "submit":
            raise connection.LostError("there: the connection broke")
        return ask(talk, head, body)

    with monkeypatch.context() as patch:
        patch.setattr(session.Session, "ask", losing)
        with pytest.raises(SubmitError, match=r"not known whether job a was submitted(?s:.*)jobkit status a"):
            submit()
    assert (known().state, known().reason) == ("lost", "its submission did not reach there")
    assert not (machine.home / "sent").exists()


def test_what_is_refused_there_leaves_nothing_here(
    submit: Callable[..., sending.Submission], machine, jobkit_home: Path
) -> None:
    (machine.home / "jobs" / "a").mkdir(parents=True)
    with pytest.raises(SpecError, match="there: --id: a job of this id exists there"):
        submit()
    assert list((jobkit_home / "jobs").iterdir()) == []


def test_a_machine_without_jobkit_is_told_with_the_line_that_installs_it(
    submit: Callable[..., sending.Submission], monkeypatch: pytest.MonkeyPatch, jobkit_home: Path
) -> None:
    begin = session.Session.__init__

    def bare(talk: session.Session, *given: str, **more: str) -> None:
        begin(talk, *given, **more)
        talk.jobkit = None

    monkeypatch.setattr(session.Session, "__init__", bare)
    line = f"hint: ssh there {sys.executable} -m pip install jobkit=={jobkit.__version__}"
    with pytest.raises(SubmitError, match="has no jobkit") as refused:
        submit()
    assert line in str(refused.value)
    assert list((jobkit_home / "jobs").iterdir()) == []


def test_another_version_is_told(
    submit: Callable[..., sending.Submission],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(submission.jobkit, "__version__", "99")
    submit()
    told = f"warning: there has jobkit {session.get('there', sys.executable).jobkit}, and this is 99"
    assert told in capsys.readouterr().err


def test_a_missing_variable_is_told_before_anything_is_sent(
    submit: Callable[..., sending.Submission], machine
) -> None:
    with pytest.raises(SpecError, match="not set in the submitting environment"):
        submit("forward: [NOWHERE_SET]")
    assert machine.channels == []
