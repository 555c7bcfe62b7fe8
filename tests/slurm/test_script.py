from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from jobkit.plan import Plan, plan
from jobkit.slurm import script
from jobkit.spec import parse

RUN_DIR = "/runs/it's 100%/a"
MORE = "slurm: {srun: {mpi: pmix, overlap: ''}}\n"


def planned(text: str) -> Plan:
    run = "" if "\nrun: " in f"\n{text}" else "run: python a.py\n"
    return plan(parse(f"executor: slurm\n{run}{text}", "a.yaml", {}), cwd="/project")


def rendered(text: str) -> str:
    return script.render(planned(text), "a", RUN_DIR, "/project")


def options(text: str) -> dict[str, str]:
    lines = [line for line in rendered(text).splitlines() if line.startswith("#SBATCH --")]
    return {name: value for name, _, value in (line[10:].partition("=") for line in lines)}


def test_what_a_spec_says_is_said_to_sbatch() -> None:
    got = options(
        "nodes: 2\nranks_per_node: 4\ncpus_per_rank: 3\ngpus_per_rank: 1\nmemory: 16G\ntime: 90s\n"
        "slurm: {partition: p, account: a, qos: q, constraint: 'c&d', extra: {exclusive: '', nice: 5}}\n"
    )
    assert got | {"chdir": "", "output": ""} == {
        "job-name": "a", "comment": "jobkit:a", "nodes": "2", "ntasks-per-node": "4", "cpus-per-task": "3",
        "gpus-per-node": "4", "mem": "16384M", "time": "2", "partition": "p", "account": "a", "qos": "q",
        "constraint": "'c&d'", "exclusive": "", "nice": "5", "no-requeue": "", "open-mode": "append",
        "chdir": "", "output": "",
    }  # fmt: skip


def test_what_a_spec_leaves_open_is_left_to_slurm() -> None:
    got = set(options(""))
    assert got == {
        "chdir", "comment", "job-name", "no-requeue", "nodes", "ntasks-per-node", "open-mode", "output",
    }  # fmt: skip


def test_a_job_waits_for_others() -> None:
    text = script.render(planned(""), "a", RUN_DIR, "/project", ("7", "8"))
    assert "\n#SBATCH --dependency=afterok:7:8\n" in text
    assert "\n#SBATCH --kill-on-invalid-dep=yes\n" in text


def test_a_signal_comes_ahead_of_the_time_limit() -> None:
    assert options("time: 1h\nsignal: {name: USR1, before: 90s}\n")["signal"] == "USR1@90"


def test_options_can_be_left_out() -> None:
    assert "mem" not in options("memory: 1G\nslurm: {skip: [mem]}\n")


def test_lines_of_the_program_are_left_as_they_are() -> None:
    assert "\n#SBATCH --signal=x" in rendered('shell: true\nrun: "echo\\n#SBATCH --signal=x"\n')


def test_a_sweep_is_an_array_whose_tasks_choose_their_commands(tmp_path: Path) -> None:
    text = "sweep: {a: [1, \"it's\"]}\nparallel: 2\nrun: [echo, '${{ sweep.a }}']\n"
    assert options(text)["array"] == "0-1%2"
    assert options(text)["output"].endswith("/%a/slurm-%A_%a.log'")
    lines = rendered(text).splitlines()
    chosen = "\n".join(lines[lines.index('case "$SLURM_ARRAY_TASK_ID" in') : lines.index("esac") + 1])
    for point, word in (("0", "1"), ("1", "it's")):
        script = f'SLURM_ARRAY_TASK_ID={point}\n{chosen}\nprintf "%s|" "$@"'
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout == f"echo|{word}|"
    (tmp_path / "a").write_text(rendered(text))
    subprocess.run(["bash", "-n", tmp_path / "a"], check=True)


def test_setup_is_a_step_with_a_task_for_each_node_whose_success_the_ranks_need() -> None:
    text = "nodes: 2\nranks_per_node: 4\nsetup: ['module load a', \"echo 'b'\"]\n" + MORE
    lines = rendered(text).splitlines()
    first, program, words, ranks = lines[(i := lines.index("export SUBMITIT_EXECUTOR=slurm") + 1) : i + 4]
    assert set(first.split()) >= {"--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--mpi=none", "--overlap"}
    assert program.endswith(f"-m jobkit.slurm.setup {shlex.quote(RUN_DIR)} '' \\")
    assert words == """  /project 'module load a' 'echo '"'"'b'"'"'' &&"""
    assert ranks.startswith("srun ")


def test_shared_gpus_are_asked_for_once() -> None:
    text = "ranks_per_node: 4\ngpus_per_rank: 2\n"
    assert options(text)["gpus-per-node"] == "8"
    assert options(f"{text}share_gpus: true\n")["gpus-per-node"] == "2"
    more = options(text + "share_gpus: true\nslurm: {extra: {gpus-per-node: 3}}\n")
    assert more["gpus-per-node"] == "3"


def test_srun_is_told_everything_itself() -> None:
    command = rendered(
        "nodes: 2\nranks_per_node: 2\ncpus_per_rank: 3\nslurm: {srun: {mpi: pmix, overlap: ''}}\n"
    )
    line = next(line for line in command.splitlines() if line.startswith("srun "))
    assert set(line.split()) >= {
        "--nodes=2", "--ntasks=4", "--ntasks-per-node=2", "--cpus-per-task=3", "--kill-on-bad-exit=1",
        "--wait=0", "--mpi=pmix", "--overlap",
    }  # fmt: skip


def test_the_kind_of_mpi_is_chosen_on_the_node_unless_the_spec_has_it() -> None:
    chosen = rendered("backend: mpi\npython: /p/python\n")
    assert "\nmpi=$(/p/python -m jobkit.slurm.mpi '/runs/it'\"'\"'s 100%/a') &&\nsrun " in chosen
    assert '--unbuffered --mpi="$mpi" ' in chosen
    assert ' "$SLURM_ARRAY_TASK_ID") &&\nsrun ' in rendered("backend: mpi\nsweep: {a: [1, 2]}\n")
    assert "mpi=$(" not in rendered("backend: mpi\nslurm: {srun: {mpi: pmi2}}\n")
    assert "mpi" not in rendered("backend: ring\n")


@pytest.mark.parametrize(("answer", "number"), [("Submitted batch job 12\n", "12"), ("garbage", None)])
def test_the_number_of_a_job_is_in_the_answer(answer: str, number: str | None) -> None:
    assert script.job_number(answer) == number


def test_bash_understands_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(rendered("run: [echo, \"it's\", 'a b', '$HOME', '']\n"))
    subprocess.run(["bash", "-n", tmp_path / "a"], check=True)
