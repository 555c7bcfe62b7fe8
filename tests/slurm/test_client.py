from __future__ import annotations

from pathlib import Path

import pytest

from jobkit.errors import SubmitError
from jobkit.slurm import client


def test_what_a_command_did_is_returned() -> None:
    answer = client.call(("sh", "-c", "echo out; printf 'a\\n  b\\n' >&2; exit 3"), {"PATH": "/bin"})
    assert (answer.status, answer.out, answer.words) == (3, "out\n", "a; b")


def test_a_command_that_says_nothing_has_its_status() -> None:
    assert client.call(("sh", "-c", "exit 3"), {"PATH": "/bin"}).words == "status 3"
    assert client.call(("sh", "-c", "kill $$"), {"PATH": "/bin"}).words == "killed by signal 15"


def test_garbage_is_passed_on_in_part_and_does_nothing_to_a_terminal() -> None:
    words = client.call(
        ("sh", "-c", "head -c 100000 /dev/zero | tr '\\0' '\\033'; exit 3"), {"PATH": "/bin"}
    ).words
    assert len(words) < 2000
    assert words.isprintable()


def test_a_command_that_hangs_is_given_up() -> None:
    with pytest.raises(client.UnansweredError, match="sleep did not answer within 0 s"):
        client.call(("sleep", "60"), {"PATH": "/bin"}, timeout_s=0.1)


def test_a_configuration_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    given = {"PATH": "/bin", "SLURM_CONF": str(tmp_path / "slurm.conf")}
    with pytest.raises(client.UnansweredError, match="SLURM_CONF: no such file"):
        client.call(("sleep", "60"), given)
    (tmp_path / "slurm.conf").touch()
    assert client.call(("true",), given).status == 0


def test_a_command_that_is_not_installed_is_told() -> None:
    with pytest.raises(SubmitError, match="sbatch: no such program on this machine"):
        client.call(("sbatch",), {"PATH": "/nowhere"})


def test_variables_that_stand_for_options_do_not_reach_slurm() -> None:
    given = {"SQUEUE_PARTITION": "x", "SLURM_JOB_ID": "1", "SLURM_CONF": "c", "TZ": "Asia/Tokyo", "A": "1"}
    got = client.own_environ(given)
    assert got == {"SLURM_CONF": "c", "A": "1", "TZ": "UTC", "SLURM_TIME_FORMAT": "standard", "LC_ALL": "C"}


@pytest.mark.parametrize(("words", "is_fine"), [("Invalid job id specified", True), ("no contact", False)])
def test_a_job_that_has_ended_is_no_error_of_cancel(
    words: str, is_fine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "call", lambda *_: client.Answer(1, "", words))
    if is_fine:
        client.cancel("7", {})
    else:
        with pytest.raises(SubmitError, match="scancel 7: no contact"):
            client.cancel("7", {})


def test_the_longest_array_is_in_the_configuration(tmp_path: Path) -> None:
    scontrol = tmp_path / "scontrol"
    scontrol.write_text("#!/bin/sh\necho 'MaxArraySize            = 1001'\n")
    scontrol.chmod(0o700)
    assert client.longest_array({"PATH": f"{tmp_path}:/bin"}) == 1001
    scontrol.write_text("#!/bin/sh\n")
    assert client.longest_array({"PATH": f"{tmp_path}:/bin"}) is None


@pytest.mark.parametrize(("number", "first"), [("7", "scancel"), ("7_1", "scontrol")])
def test_a_waiting_point_becomes_a_job_before_it_is_cancelled(
    number: str, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, ...]] = []

    def call(words: tuple[str, ...], _environ: object) -> client.Answer:
        calls.append(words)
        return client.Answer(int(words[0] == "scontrol"), "", "Job is not pending")

    monkeypatch.setattr(client, "call", call)
    client.cancel(number, {})
    assert (calls[0][0], calls[-1]) == (first, ("scancel", number))
