"""What is sent to Slurm; that it does what it says is in tests/clusters/test_jobs_slurm.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobkit.errors import SpecError, SubmitError
from jobkit.executors import slurm
from jobkit.jobs import process, record
from jobkit.jobs.record import Origin
from jobkit.jobs.submission import Submission
from jobkit.plan import plan
from jobkit.spec import parse

HEAD = "executor: slurm\nrun: python a.py\n"
# Stands in for sbatch where faults are needed that no cluster has at hand: it writes down what it was given.
SBATCH = """#!/bin/sh
case "$1" in --test-only) exit 0;; esac
cat "$1" > {folder}/script
env -0 > {folder}/environ
{answer}
"""


def prepared(text: str, **environ: str) -> Submission:
    around = {"JOBKIT_HOME": "/home/jobkit", **environ}
    return slurm.prepare(plan(parse(HEAD + text, "a.yaml", around), cwd="/project"), "a", text, around)


def file_of(sent: Submission, name: str) -> str:
    return next(str(file.text) for file in sent.files if file.path == name)


def test_a_dry_run_needs_no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    sent = prepared("nodes: 2\n")
    assert sent.command == ("sbatch", "/home/jobkit/jobs/a/job.sbatch")
    assert "-m jobkit.env --run-dir /home/jobkit/jobs/a --backend any --chdir /project" in str(sent)


def test_values_are_in_a_private_file_and_not_in_the_script() -> None:
    sent = prepared("env: {A: 'a,b'}\nforward: [B]\nsecrets: [C]\n", B="b'\n", C="c3cret")
    handed = json.loads(file_of(sent, "environ.json"))
    assert (handed["A"], handed["B"], handed["JOBKIT_JOB"]) == ("a,b", "b'\n", "a")
    assert {file.mode for file in sent.files} == {0o600}
    assert "a,b" not in file_of(sent, "job.sbatch")
    assert "c3cret" not in str(sent)
    assert (sent.environ["C"], sent.files[-1].text) == (None, None)


def test_points_have_what_is_their_own_in_a_file_of_their_own() -> None:
    sent = prepared("sweep: {lr: [0.1, 0.01]}\nenv: {LR: '${{ sweep.lr }}', B: b}\n")
    assert json.loads(file_of(sent, "environ.json"))["B"] == "b"
    assert json.loads(file_of(sent, "1/environ.json")) == {"LR": "0.01"}
    assert (sent.environ["LR"], sent.environ["B"]) == (None, "b")


def test_points_without_variables_of_their_own_have_no_such_file() -> None:
    sent = prepared("sweep: {lr: [0.1, 0.01]}\n")
    assert [file.path for file in sent.files] == ["spec.yaml", "plan.json", "job.sbatch", "environ.json"]


def test_the_shims_settings_are_handed_over() -> None:
    text = "network: {subnet: 10.0.0.0/8, ports: 20000-20999}\ngpus_per_rank: 1\nshare_gpus: true\n"
    handed = json.loads(file_of(prepared(text), "environ.json"))
    assert handed == {
        "JOBKIT_JOB": "a",
        "JOBKIT_CONNECTIONS_PER_IP": "1",
        "JOBKIT_GPUS_PER_RANK": "1",
        "JOBKIT_SHARE_GPUS": "1",
        "JOBKIT_PORTS": "20000-20999",
        "JOBKIT_SUBNET": "10.0.0.0/8",
    }


def test_a_word_with_which_srun_begins_another_command_is_refused() -> None:
    made = plan(parse(HEAD, "a.yaml", {}), cwd="/project", args=("a", ":", "b"))
    with pytest.raises(SubmitError, match=r"^run: srun takes this word for its own, got ':'"):
        slurm.prepare(made, "a", HEAD, {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("slurm: {extra: {comment: x}}\n", "slurm.extra: jobkit sets it, got 'comment'"),
        ("slurm: {srun: {output: x}}\n", "slurm.srun: jobkit sets it, got 'output'"),
        (
            'slurm: {extra: {reservation: "a\\n#SBATCH --nice"}}\n',
            "slurm.extra.reservation: more than one line",
        ),
        ('run_dir: "/a\\\\b"\n', "run_dir: a path that Slurm cannot write"),
    ],
)
def test_what_would_break_the_script_is_refused(text: str, words: str) -> None:
    with pytest.raises(SubmitError) as caught:
        prepared(text)
    assert words in str(caught.value)


def test_every_reason_comes_at_once() -> None:
    with pytest.raises(SubmitError) as caught:
        prepared("run_dir: 'a\tb'\nslurm: {extra: {array: '0'}}\n")
    assert len(str(caught.value).splitlines()) == 2


def test_a_missing_secret_is_told() -> None:
    with pytest.raises(SpecError, match="got 'C'"):
        prepared("secrets: [C]\n")


def test_a_time_that_slurm_rounds_is_told() -> None:
    assert prepared("time: 90s\n").notes == ("time: Slurm counts minutes, so the limit is 2 min",)
    assert prepared("time: 2m\n").notes == ()


@pytest.fixture
def origin() -> Origin:
    me = process.identify(os.getpid())
    assert me is not None
    return Origin((), "/", "a.yaml", None, None, (), (), "0", None, me)


def sent_to(tmp_path: Path, answer: str, origin: Origin, text: str = "", squeue: str = "exit 0") -> Path:
    """Submit to programs that stand in for Slurm's; return the run folder."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, script in (
        ("sbatch", SBATCH.format(folder=tmp_path, answer=answer)),
        ("squeue", f"#!/bin/sh\n{squeue}\n"),
    ):
        (programs / name).write_text(script)
        (programs / name).chmod(0o700)
    around = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    os.environ["PATH"] = around["PATH"]
    sent = slurm.prepare(plan(parse(HEAD + text, "a.yaml", around), cwd=str(tmp_path)), "a", text, around)
    return slurm.submit(sent, around, origin)


@pytest.fixture(autouse=True)
def _the_path_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])


def test_what_is_printed_is_what_is_sent(tmp_path: Path, jobkit_home: Path, origin: Origin) -> None:
    run_dir = sent_to(tmp_path, "echo Submitted batch job 12", origin, "nodes: 2\n")
    submission = json.loads((run_dir / "submission" / "submission.json").read_text())
    shown = next(file["text"] for file in submission["files"] if file["path"] == "job.sbatch")
    assert (tmp_path / "script").read_text() == shown
    assert (record.read(run_dir).scheduler_id, record.read(run_dir).state) == ("12", "queued")


def test_sbatch_gets_nothing_of_a_launcher_and_no_secret(
    tmp_path: Path, jobkit_home: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_NTASKS", "SBATCH_PARTITION", "MLX_RANK", "TOKEN", "MINE"):
        monkeypatch.setenv(name, f"my {name}")
    monkeypatch.setenv("SLURM_CONF", str(tmp_path))
    sent_to(tmp_path, "echo Submitted batch job 12", origin, "secrets: [TOKEN]\n")
    got = dict(item.split("=", 1) for item in (tmp_path / "environ").read_text().split("\0") if item)
    assert (got["MINE"], got["SLURM_CONF"]) == ("my MINE", str(tmp_path))
    assert not {"SLURM_NTASKS", "SBATCH_PARTITION", "MLX_RANK", "TOKEN"} & set(got)


def test_without_inherit_only_the_least_goes_along(
    tmp_path: Path, jobkit_home: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE", "mine")
    monkeypatch.setenv("SLURM_CONF", str(tmp_path))
    sent_to(tmp_path, "echo Submitted batch job 12", origin, "inherit: false\n")
    got = {item.partition("=")[0] for item in (tmp_path / "environ").read_text().split("\0") if item}
    assert got - {"PWD", "SHLVL", "_", "OLDPWD"} <= {"PATH", "HOME", "USER", "LANG", "SLURM_CONF"}


@pytest.mark.parametrize("answer", ["echo garbage", "echo 'Socket timed out' >&2; exit 1"])
def test_a_job_that_was_taken_without_an_answer_is_found(
    answer: str, tmp_path: Path, jobkit_home: Path, origin: Origin
) -> None:
    run_dir = sent_to(tmp_path, answer, origin, squeue="echo '13|PENDING|0|N/A|N/A|Priority|jobkit:a'")
    assert record.read(run_dir).scheduler_id == "13"


def test_an_answer_that_is_none_is_told(tmp_path: Path, jobkit_home: Path, origin: Origin) -> None:
    with pytest.raises(SubmitError, match="sbatch: no number of a job in its answer, got 'garbage'"):
        sent_to(tmp_path, "echo garbage", origin)


def test_a_job_that_was_not_taken_is_lost(tmp_path: Path, jobkit_home: Path, origin: Origin) -> None:
    with pytest.raises(SubmitError, match="job a: sbatch: no more jobs"):
        sent_to(tmp_path, "echo no more jobs >&2; exit 1", origin)
    known = record.read(jobkit_home / "jobs" / "a")
    assert (known.state, known.reason) == ("lost", "sbatch: no more jobs")


def test_where_nobody_knows_the_job_stays_submitting(
    tmp_path: Path, jobkit_home: Path, origin: Origin
) -> None:
    with pytest.raises(SubmitError, match=r"(?s)it is not known whether.*do not submit it again"):
        sent_to(
            tmp_path,
            "exit 1",
            origin,
            squeue="echo slurm_load_jobs error: Unable to contact slurm controller >&2; exit 1",
        )
    assert record.read(jobkit_home / "jobs" / "a").state == "submitting"


def test_without_slurm_it_says_so(jobkit_home: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    sent = slurm.prepare(plan(parse(HEAD, "a.yaml", os.environ), cwd="/"), "a", HEAD, os.environ)
    with pytest.raises(SubmitError, match="sbatch: no such program on this machine"):
        slurm.submit(sent, os.environ, origin)
    assert list((jobkit_home / "jobs").iterdir()) == []


# Writes down what it gets: its arguments, its environment, and the run folder with the script.
RECORDER = """#!/bin/sh
env -0 > {folder}/environ
case "$1" in --test-only) exit 0;; esac
printf '%s\\0' "$@" > {folder}/argv
cp -r "${{1%/*}}" {folder}/received
echo Submitted batch job 12
"""
GIVEN = """
executor: slurm
run: [python, a.py, "it's $HOME", '${{ sweep.lr }}']
nodes: 2
ranks_per_node: 2
env: {LR: 'lr, ${{ sweep.lr }}', SAME: "1\\n2"}
forward: [FORWARDED]
secrets: [TOKEN]
setup: [module load a]
time: 5m
slurm: {partition: gpu, srun: {mpi: pmix}, extra: {exclusive: ''}}
"""


@pytest.mark.parametrize("sweep", ["", "sweep: {lr: [0.1, '1,2', 3]}\nparallel: 2\n"], ids=["plain", "sweep"])
def test_sbatch_gets_byte_for_byte_what_the_dry_run_shows(sweep: str, tmp_path: Path) -> None:
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(RECORDER.format(folder=tmp_path))
    sbatch.chmod(0o700)
    text = GIVEN if sweep else GIVEN.replace("${{ sweep.lr }}", "0.1")
    (tmp_path / "a.yaml").write_text(text + sweep)
    kept = {"HOME": str(tmp_path), "LANG": "C.UTF-8", "SLURM_CONF": str(tmp_path), "FORWARDED": "a,'b\nc"}
    around = {**kept, "TOKEN": "s3cret", "SLURM_NTASKS": "3", "SBATCH_PARTITION": "x", "RANK": "7"}

    def jobkit(path: str, *flags: str) -> str:
        words = (sys.executable, "-m", "jobkit", "submit", "a.yaml", "--id", "x", *flags)
        done = subprocess.run(
            words, cwd=tmp_path, env={**around, "PATH": path}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    shown = json.loads(jobkit("/nowhere", "--dry-run", "--json"))  # which has no Slurm
    path = f"{sbatch.parent}:{os.environ['PATH']}"
    jobkit(path)
    argv = (tmp_path / "argv").read_bytes().split(b"\0")[:-1]
    assert ["sbatch", *map(os.fsdecode, argv)] == shown["command"]
    for file in shown["files"]:
        received = tmp_path / "received" / file["path"]
        if file["text"] is None:
            assert json.loads(received.read_text()) == {"TOKEN": "s3cret"}
        else:
            assert received.read_bytes() == file["text"].encode(), file["path"]
        assert f"{received.stat().st_mode & 0o777:04o}" == file["mode"]
    got = dict(item.split("=", 1) for item in (tmp_path / "environ").read_text().split("\0") if item)
    shells = {"PWD", "OLDPWD", "SHLVL", "_"}
    assert {name: value for name, value in got.items() if name not in shells} == {**kept, "PATH": path}


def test_an_array_that_is_too_long_is_refused_with_the_limit(
    tmp_path: Path, jobkit_home: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, script in (("sbatch", "exit 1"), ("scontrol", "echo 'MaxArraySize = 3'")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o700)
    around = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    monkeypatch.setenv("PATH", around["PATH"])
    text = HEAD + "sweep: {a: [1, 2, 3, 4]}\n"
    sent = slurm.prepare(plan(parse(text, "a.yaml", around), cwd="/"), "a", text, around)
    with pytest.raises(SubmitError, match=r"^sweep: more points .*MaxArraySize\), got 4, expected at most 3"):
        slurm.submit(sent, around, origin)
