"""A spec and an executor make a plan, or a refusal that names the key."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from jobkit.errors import SpecError
from jobkit.plan import Plan, Retries, SignalSpec, Task, plan
from jobkit.spec import load, parse


def planned(text: str, **options: Any) -> Plan:
    """Return the plan of a YAML text."""
    options.setdefault("cwd", "/project/here")
    return plan(parse(text, "a.yaml", {"HOME": "/home/a"}), **options)


def refusal(text: str, **options: Any) -> list[str]:
    """Return the lines of the refusal to plan a YAML text."""
    with pytest.raises(SpecError) as caught:
        planned(text, **options)
    return str(caught.value).split("\n")


def test_the_shortest_spec_is_one_rank_here() -> None:
    assert planned("run: python a.py") == Plan(
        name="a",
        executor="local",
        tasks=(Task(None, {}, "a", ("python", "a.py"), False, {}),),
        parallel=1,
        after=(),
        ranks=1,
        nodes=1,
        ranks_per_node=1,
        cpus_per_rank=None,
        gpus_per_rank=0,
        share_gpus=False,
        memory_bytes=None,
        backend=("any",),
        forward=(),
        secrets=(),
        inherit=True,
        python=sys.executable,
        workdir="/project/here",
        run_dir=None,
        snapshot=False,
        setup=(),
        time_s=None,
        retries=Retries(),
        signal=None,
        subnet=None,
        ports=None,
        connections_per_ip=1,
        jaccl_hostfile=None,
        notes=(),
    )


def test_what_the_spec_says_is_in_the_plan() -> None:
    found = planned(
        "run: a\nname: n\nranks: 4\ncpus_per_rank: 2\ngpus_per_rank: 1\nshare_gpus: true\nbackend: ring\n"
        "forward: [F]\nsecrets: [S]\ninherit: false\nsnapshot: true\nsetup: [x]\ntime: 1h\n"
        "retries: {failed: 2}\nsignal: {name: USR1}\nnetwork: {subnet: 10.0.0.0/8, ports: 1-9}\n"
        "ring: {connections_per_ip: 2}\njaccl: {hostfile: hosts.json}\nafter: [b]\n"
    )

    assert (found.name, found.ranks, found.nodes, found.ranks_per_node) == ("n", 4, 1, 4)
    assert (found.cpus_per_rank, found.gpus_per_rank, found.share_gpus) == (2, 1, True)
    assert (found.backend, found.forward, found.secrets, found.inherit) == (("ring",), ("F",), ("S",), False)
    assert (found.snapshot, found.setup, found.time_s) == (True, ("x",), 3600)
    assert (found.retries, found.signal) == (Retries(failed=2), SignalSpec("USR1", 60))
    assert (found.subnet, found.ports, found.connections_per_ip) == ("10.0.0.0/8", (1, 9), 2)
    assert found.jaccl_hostfile == "/project/here/hosts.json"
    assert found.after == ("b",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("workdir: x", "/project/here/x"),
        ("workdir: .", "/project/here"),
        ("workdir: ../x", "/project/here/../x"),  # a link in between may lead elsewhere
        ("workdir: /x", "/x"),
        ("workdir: ~", "/project/here"),
        ("workdir: ~/x", "/home/a/x"),
    ],
)
def test_a_relative_path_starts_from_the_folder_of_submission(text: str, expected: str) -> None:
    assert planned(f"run: a\n{text}").workdir == expected


def test_other_paths_are_absolute_too() -> None:
    found = planned("run: a\nrun_dir: runs\npython: .venv/bin/python")

    assert (found.run_dir, found.python) == ("/project/here/runs", "/project/here/.venv/bin/python")


def test_arguments_are_appended() -> None:
    assert planned("run: a b", args=["c d", "$E"]).tasks[0].command == ("a", "b", "c d", "$E")


def test_a_shell_gets_its_text_and_arguments_as_words() -> None:
    assert planned("run: a | b\nshell: true").tasks[0].command == ("/bin/bash", "-c", "a | b")
    assert planned("run: |\n  a\n  b\nshell: true", args=["c d"]).tasks[0].command == (
        "/bin/bash",
        "-c",
        'a\nb "$@"',
        "bash",
        "c d",
    )


def test_each_point_of_a_sweep_is_a_task() -> None:
    found = planned(
        "run: a --lr ${{ sweep.lr }}\nname: n-${{ sweep.lr }}\nenv: {S: 's${{ sweep.s }}'}\n"
        "sweep: {lr: [0.1, 1e-3], s: [1]}\nparallel: 9\n"
    )

    assert found.tasks == (
        Task("0", {"lr": "0.1", "s": "1"}, "n-0.1", ("a", "--lr", "0.1"), False, {"S": "s1"}),
        Task("1", {"lr": "1e-3", "s": "1"}, "n-1e-3", ("a", "--lr", "1e-3"), False, {"S": "s1"}),
    )
    assert (found.name, found.parallel) == ("n-*", 2)


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("", {}, None),
        ("cpus_per_rank: 3", {}, "3"),
        ("cpus_per_rank: 3\nenv: {OMP_NUM_THREADS: 7}", {}, "7"),
        ("cpus_per_rank: 3\nforward: [OMP_NUM_THREADS]", {}, None),
        ("cpus_per_rank: 3", {"OMP_NUM_THREADS": "5"}, None),
        ("cpus_per_rank: 3\ninherit: false", {"OMP_NUM_THREADS": "5"}, "3"),
    ],
)
def test_cores_set_the_number_of_threads_unless_something_else_does(
    text: str, environ: dict[str, str], expected: str | None
) -> None:
    assert planned(f"run: a\n{text}", environ=environ).tasks[0].env.get("OMP_NUM_THREADS") == expected


@pytest.mark.parametrize(
    ("text", "ranks", "expected"),
    [
        ("", 4, (4, 1, 4)),
        ("ranks: 2", 4, (4, 1, 4)),
        ("ranks_per_node: 2", 4, (4, 1, 4)),
        ("ranks_per_node: 2\nexecutor: slurm", 4, (4, 2, 2)),
        ("nodes: 2\nexecutor: slurm", 4, (4, 2, 2)),
        ("nodes: 2\nranks: 8\nexecutor: slurm", None, (8, 2, 4)),
        ("ranks: 4\nexecutor: ssh\nssh: {hosts: [a, b]}", None, (4, 2, 2)),
        ("ranks_per_node: 3\nexecutor: ssh\nssh: {hosts: [a, b]}", None, (6, 2, 3)),
    ],
)
def test_the_total_on_the_command_line_counts(
    text: str, ranks: int | None, expected: tuple[int, ...]
) -> None:
    found = planned(f"run: a\n{text}", ranks=ranks)

    assert (found.ranks, found.nodes, found.ranks_per_node) == expected


CLUSTER = (
    "run: a\nexecutor: slurm\nnodes: 4\nranks_per_node: 2\ncpus_per_rank: 8\ngpus_per_rank: 1\nmemory: 16G\n"
    "setup: [module load cuda]\ntime: 2h\nsignal: {name: USR1}\nbackend: nccl\n"
)


def test_a_smoke_test_leaves_out_what_describes_the_cluster() -> None:
    found = planned(CLUSTER, executor="local")

    assert (found.executor, found.ranks, found.nodes) == ("local", 2, 1)
    assert (found.cpus_per_rank, found.gpus_per_rank, found.memory_bytes) == (None, 0, None)
    assert (found.setup, found.signal, found.time_s) == ((), None, 7200)
    assert found.backend == ("ring",)
    assert found.tasks[0].env == {}
    assert found.notes == (
        "smoke test on local instead of slurm: "
        "nodes, gpus_per_rank, memory, cpus_per_rank, setup, signal left out",
        "warning: backend nccl cannot run on local, ring instead",
    )


@pytest.mark.parametrize(
    ("shape", "ranks", "expected"),
    [
        ("nodes: 4\nranks_per_node: 2", 3, 3),
        ("nodes: 4\nranks: 8", None, 8),
        ("nodes: 4", None, 1),
        ("ranks: 8\nranks_per_node: 2", None, 8),
        ("ranks: 8\nranks_per_node: 2", 3, 3),
        ("", 2, 2),
    ],
)
def test_a_smoke_test_has_one_node(shape: str, ranks: int | None, expected: int) -> None:
    found = planned(f"run: a\nexecutor: slurm\n{shape}", executor="local", ranks=ranks)

    assert (found.ranks, found.nodes) == (expected, 1)


def test_a_smoke_test_of_a_small_spec_has_nothing_to_say() -> None:
    assert planned("run: a\nexecutor: slurm\nranks: 2", executor="local").notes == ()
    assert planned(CLUSTER, executor="slurm").notes == ()


def test_a_smoke_test_leaves_out_what_would_give_several_nodes() -> None:
    found = planned("run: a\nexecutor: slurm\nranks: 8\nranks_per_node: 2", executor="local")

    assert found.notes == ("smoke test on local instead of slurm: ranks_per_node left out",)


def test_several_backends_fall_back_to_one_ring() -> None:
    text = "run: a\nexecutor: slurm\nbackend: [nccl, mpi, ring]"

    assert planned(text, executor="local").backend == ("ring",)
    assert planned(text).backend == ("nccl", "mpi", "ring")


def test_the_example_with_every_key_is_planned_everywhere(repository: Path) -> None:
    full = load(str(repository / "tests/data/spec/full.yaml"), {})

    assert plan(full, cwd="/w").ranks == 4
    assert plan(full, cwd="/w", executor="local").ranks == 2
    assert plan(full, cwd="/w", executor="ssh").ranks == 4


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        (
            "",
            {"executor": "slrum"},
            "--executor: unknown name, got 'slrum', expected one of local, slurm, ssh",
        ),
        ("", {"ranks": 0}, "-n: not a count, got 0, expected an integer >= 1"),
        (
            "nodes: 2",
            {},
            "a.yaml:2: nodes: executor local has one node, got 2, expected 1, or another executor",
        ),
        (
            "memory: 1G",
            {},
            "a.yaml:2: memory: executor local cannot limit memory, expected no memory, or another executor",
        ),
        (
            "backend: nccl",
            {},
            "a.yaml:2: backend: executor local cannot run it in this version, "
            "got 'nccl', expected any, ring or none",
        ),
        (
            "signal: {name: USR1}",
            {},
            "a.yaml:2: signal: executor local has no time limit to be ahead of, "
            "expected time as well, or no signal",
        ),
        (
            "executor: slurm\nnodes: 2\nranks_per_node: 2",
            {"ranks": 5},
            "-n: disagrees with nodes: 2 and ranks_per_node: 2, got 5, expected 4, or one of them less",
        ),
        (
            "executor: slurm\nnodes: 2",
            {"ranks": 5},
            "-n: cannot be spread evenly with nodes: 2, got 5, expected a multiple of 2",
        ),
        (
            "executor: ssh",
            {},
            "a.yaml:2: executor: executor ssh needs hosts, expected ssh: {hosts: [h1, h2]}",
        ),
        (
            "executor: ssh\nssh: {hosts: ['-oProxyCommand=x']}",
            {},
            "a.yaml:3: ssh.hosts: no host, got '-oProxyCommand=x', expected [USER@]HOST[:PORT]",
        ),
        (
            "executor: ssh\nssh: {hosts: [a, a]}",
            {},
            "a.yaml:3: ssh.hosts: there twice, got 'a', expected ranks_per_node",
        ),
        (
            "executor: ssh\nbackend: mpi\nssh: {hosts: [a]}",
            {},
            "a.yaml:3: backend: executor ssh starts the ranks itself, without mpirun, got 'mpi', "
            "expected jobkit launch --backend mpi",
        ),
        (
            "executor: ssh\nmemory: 1G\nssh: {hosts: [a]}",
            {},
            "a.yaml:3: memory: executor ssh cannot limit memory, expected no memory, or another executor",
        ),
        (
            "executor: ssh\nafter: [b]\nssh: {hosts: [a], detach: true}",
            {},
            "a.yaml:3: after: the first host, which keeps a detached job, knows no job of this machine, "
            "expected no ssh.detach",
        ),
        (
            "executor: ssh\nsnapshot: true\nssh: {hosts: [a], sync: false}",
            {},
            "a.yaml:3: snapshot: the working tree is not sent, expected ssh.sync, and no ssh.workdir",
        ),
        (
            "executor: ssh\nnodes: 3\nssh: {hosts: [a, b]}",
            {},
            "a.yaml:3: nodes: more nodes than ssh.hosts, got 3, expected at most 2",
        ),
        (
            "executor: ssh\nranks: 5\nssh: {hosts: [a, b]}",
            {},
            "a.yaml:3: ranks: cannot be spread evenly with nodes: 2, got 5, expected a multiple of 2",
        ),
    ],
)
def test_what_the_executor_cannot_do_is_refused(text: str, options: dict[str, Any], expected: str) -> None:
    assert refusal(f"run: a\n{text}", **options) == [expected]


def test_all_refusals_come_at_once() -> None:
    lines = refusal("run: a\nnodes: 2\nmemory: 1G\nbackend: [nccl, mpi]\nsignal: {name: USR1}\n")

    assert [line.split(": ")[1] for line in lines] == ["backend", "backend", "memory", "signal", "nodes"]
