"""The model has every key of the specification, with its default, and reads each form of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jobkit.env import names
from jobkit.errors import SpecError
from jobkit.spec import load, parse
from jobkit.spec.model import CONTRACT_VARIABLES, MAX_POINTS, TORCH_VARIABLES, JobSpec

Complaints = Callable[..., list[str]]


def spec(text: str, **environ: str) -> JobSpec:
    """Return the spec of a YAML text."""
    return parse(text, "configs/a.yaml", environ)


def words(text: str, **environ: str) -> list[str]:
    """Return the words of `run`."""
    return [word.fill({}) for word in spec(text, **environ).run]


def test_the_example_with_every_key_is_read(repository: Path) -> None:
    full = load(str(repository / "tests/data/spec/full.yaml"), {})

    assert full.name.fill({}) == "digits"
    assert [word.fill({}) for word in full.run] == [
        "python",
        "docs/examples/train_digits.py",
        "--epochs",
        "3",
    ]
    assert (full.executor, full.nodes, full.ranks_per_node, full.cpus_per_rank) == ("slurm", 2, 2, 1)
    assert full.memory_bytes == 16 << 30
    assert full.env["MLX_METAL_FAST_SYNCH"].fill({}) == "1"
    assert (full.forward, full.secrets) == (("HF_HOME",), ("WANDB_API_KEY",))
    assert full.setup == ("module load cuda",)
    assert full.time_s == 7200
    assert (full.retries.preempted, full.retries.node_failure, full.retries.failed) == (5, 2, 0)
    assert full.signal is not None
    assert (full.signal.name, full.signal.before_s) == ("USR1", 90)
    assert (full.network.subnet, full.network.ports) == ("10.0.0.0/8", (20000, 20999))
    assert full.sweep[1] == {"lr": "0.1", "seed": "2"}
    assert full.after == ("JOB",)
    assert full.slurm.srun == {"mpi": "pmix"}
    assert full.slurm.extra == {"exclusive": ""}
    assert full.slurm.skip == ("mem",)
    assert full.ssh.hosts == ("h1", "h2")
    assert full.ssh.suspend_s == 600


def test_the_example_has_every_key(repository: Path) -> None:
    text = (repository / "tests/data/spec/full.yaml").read_text()
    keys = {line.split(":")[0] for line in text.splitlines()}

    assert {field.alias or name for name, field in JobSpec.model_fields.items()} == keys | {"shell", "ranks"}


def test_the_shortest_spec_has_the_defaults() -> None:
    short = spec("run: a\n")

    assert short.model_dump(
        exclude={"name", "run", "retries", "network", "ring", "mpi", "jaccl", "slurm", "ssh"}
    ) == {
        "jobkit": 1,
        "shell": False,
        "backend": ("any",),
        "executor": "local",
        "ranks": None,
        "nodes": None,
        "ranks_per_node": None,
        "cpus_per_rank": None,
        "gpus_per_rank": 0,
        "share_gpus": False,
        "memory_bytes": None,
        "env": {},
        "forward": (),
        "secrets": (),
        "inherit": True,
        "python": None,
        "workdir": ".",
        "run_dir": None,
        "snapshot": False,
        "setup": (),
        "time_s": None,
        "signal": None,
        "sweep": (),
        "parallel": 1,
        "after": (),
    }
    assert short.retries.model_dump() == {"preempted": 0, "node_failure": 0, "failed": 0}
    assert short.network.model_dump() == {"subnet": None, "ports": None}
    assert (short.ssh.sync, short.ssh.detach, short.ssh.host_keys, short.ssh.suspend_s) == (
        True,
        False,
        "strict",
        600,
    )


def test_null_is_the_default_of_every_key_but_run(complaints: Complaints) -> None:
    keys = [field.alias or name for name, field in JobSpec.model_fields.items() if name != "run"]

    nulls = spec("run: a\n" + "".join(f"{key}:\n" for key in keys))

    assert nulls.model_dump() == spec("run: a\n").model_dump()
    assert "run: missing" in complaints("run:\n")[0]


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        spec("run: a\n").ranks = 3


def test_a_job_without_a_name_has_the_stem_of_its_file() -> None:
    assert spec("run: a\n").name.fill({}) == "a"
    assert parse("run: a\n", "x/${{ sweep.a }}.yaml", {}).name.fill({}) == "${{ sweep.a }}"
    assert parse("run: a\n", "x/a\nb.yaml", {}).name.fill({}) == "a_b"


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("python a.py 'b c'", ["python", "a.py", "b c"]),
        ("[python, a.py, b c]", ["python", "a.py", "b c"]),
        (
            "[echo, 3.10, no, 010, 1e-3, null, ~, 1:30]",
            ["echo", "3.10", "no", "010", "1e-3", "null", "~", "1:30"],
        ),
        ("[echo, '', $HOME, a && b]", ["echo", "", "$HOME", "a && b"]),
        (">-\n  python a.py\n  --epochs 3\n", ["python", "a.py", "--epochs", "3"]),
        ("|\n  python a.py\n", ["python", "a.py"]),
        ("yes", ["yes"]),
        ("true", ["true"]),
        ("${PY:-python} ${A}", ["python", "1 2"]),
        ("['${A}', 'x${A}']", ["1 2", "x1 2"]),
        ("echo $${A}", ["echo", "${A}"]),
    ],
)
def test_run_is_words(run: str, expected: list[str]) -> None:
    assert words(f"run: {run}\n", A="1 2") == expected


@pytest.mark.parametrize("text", ["echo ${HOME} $$ | cat; exit 3", "yes", "|\n  set -e\n  a\n  b\n"])
def test_a_shell_gets_the_text_as_it_is(text: str) -> None:
    expected = "set -e\na\nb\n" if text.startswith("|") else text

    assert words(f"shell: true\nrun: {text}\n") == [expected]
    assert words(f"run: {text}\nshell: true\n") == [expected]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("run: ''", "no command"),
        ("run: []", "no command"),
        ("run: ['', a]", "no command"),
        ("run: {a: b}", "not a command"),
        ("run: [a, [b]]", "run.1: not text"),
        ("run: [a, ]\n\nenv: 3", "env: not a mapping"),
        ("run:\n- a\n-\n", "run.1: no word"),
        ("run: [a]\nshell: true", "a list together with `shell: true`"),
        ("run: a | b", "only a shell understands this"),
        ("run: |\n  a\n  b\n", "several lines"),
        ("run: a ${NONE}", "NONE is not set"),
        ("run: [a, '${NONE}', '${NONE}']", "run.1: NONE is not set"),
        ('run: "a \\0"', "a character that no program can be given"),
        ("run: a\nenv:\n  A: ${NONE}", "env.A: NONE is not set"),
        ("run: a\nenv: {A: [b]}", "env.A: not text"),
        ("run: a\nenv: [A]", "env: not a mapping"),
        ("run: a\nname: ''", "name: empty"),
        ("run: a\nname: 1.0", "name: a number in YAML 1.1"),
        ("run: a\nname: x${HOME}", "name: not replaced here"),
        ("run: a\nworkdir: ${NONE}/x", "workdir: NONE is not set"),
        ("run: a\nworkdir: ${{ sweep.a }}", "workdir: not replaced here"),
        ("run: a\nworkdir: ~/x", "workdir: HOME is not set"),
        ("run: a\nworkdir: ''", "workdir: empty"),
        ("run: a\npython: python3", "python: not a path"),
        ("run: a\npython: ${VENV}/bin/python", "python: ${…} is not replaced here"),
        ("run: a\nbackend: []", "backend: an empty list"),
        ("run: a\nbackend: [any, ring]", "backend: any and none stand alone"),
        ("run: a\nbackend: [ring, ring]", "backend: a backend given twice"),
        ("run: a\nbackend: {ring: 1}", "backend: unknown name"),
        ("run: a\njobkit: 2", "jobkit: a version that this jobkit does not know"),
        (
            "run: a\nranks: 8\nnodes: 2\nranks_per_node: 2",
            "ranks: disagrees with nodes: 2 and ranks_per_node: 2",
        ),
        ("run: a\nforward: [A]\nsecrets: [A]", "secrets.0: already under forward"),
        ("run: a\nenv: {A: 1}\nsecrets: [A]", "secrets.0: already under env"),
        ("run: a\nenv: {MASTER_PORT: 1}", "env.MASTER_PORT: jobkit sets it in every rank"),
        ("run: a\nforward: [JOBKIT_RANK]", "forward.0: jobkit sets it in every rank"),
        ("run: a\nsecrets: [MLX_HOSTFILE]", "secrets.0: jobkit sets it in every rank"),
        ("run: a\ntime: 60s\nsignal: {name: USR1}", "signal.before: not ahead of the time limit"),
        ("run: a\ntime: 60s\nsignal: {name: USR1, before: 2h}", "signal.before: not ahead of the time limit"),
        ("run: a\nring: {connections_per_ip: 65}", "ring.connections_per_ip: too large"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused(complaints: Complaints, text: str, wrong: str) -> None:
    lines = complaints(text)

    assert len(lines) == (2 if text.count("${NONE}") == 2 else 1)
    assert wrong in lines[0]


@pytest.mark.parametrize(
    "text", ["3.10", "no", "010", "1e-3", "1:30", "2024-01-31", "0x1f", "1_000", "'a b'", '""']
)
def test_a_variable_is_its_written_text(text: str) -> None:
    assert spec(f"run: a\nenv: {{A: {text}}}").env["A"].fill({}) == text.strip("'\"")


@pytest.mark.parametrize("key", ["yes", "NO", "on", "y"])
def test_the_name_of_a_variable_is_its_written_text(key: str) -> None:
    assert list(spec(f"run: a\nenv: {{{key}: 1}}").env) == [key]


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"], exclude_characters="$"), max_size=30))
def test_any_text_in_quotes_reaches_the_program(text: str) -> None:
    quoted = "'" + text.replace("'", "''") + "'"
    found = spec(f"run: [a, {quoted}]\nenv: {{A: {quoted}}}\n")

    assert [word.fill({}) for word in found.run] == ["a", text]
    assert found.env["A"].fill({}) == text


def test_a_home_folder_is_put_in() -> None:
    assert spec("run: a\nworkdir: ~/x\nrun_dir: ${B}/y", HOME="/h", B="/b").workdir == "/h/x"
    assert spec("run: a\nrun_dir: ${B}/y", B="/b").run_dir == "/b/y"


def test_what_jobkit_sets_is_what_the_shim_sets() -> None:
    # A program may be told where its coordinator is; everything else of one process is the shim's.
    assert set(names.CONTRACT) | set(names.OWN) - {names.COORDINATOR} == CONTRACT_VARIABLES
    assert set(names.TORCH) == TORCH_VARIABLES


def test_without_a_group_torch_is_left_to_the_program() -> None:
    assert spec("run: a\nbackend: none\nenv: {MASTER_PORT: 29500}").backend == ("none",)


def test_a_sweep_is_the_product_with_the_last_key_fastest() -> None:
    assert spec("run: a\nsweep: {a: [1, 2], b: [no, 010]}").sweep == (
        {"a": "1", "b": "no"},
        {"a": "1", "b": "010"},
        {"a": "2", "b": "no"},
        {"a": "2", "b": "010"},
    )


def test_a_sweep_of_mappings_is_taken_as_it_is() -> None:
    assert spec("run: a\nsweep: [{a: 1}, {a: 2, b: 3}]").sweep == ({"a": "1"}, {"a": "2", "b": "3"})


@pytest.mark.parametrize(
    ("sweep", "wrong"),
    [
        ("[]", "sweep: no points"),
        ("{}", "sweep: no points"),
        ("3", "sweep: no points"),
        ("{a: []}", "sweep.a: not a list of values"),
        ("{a: 1, b: 2}", "sweep.a: not a list of values"),
        ("{a: [[1]]}", "sweep.a.0: not text"),
        ("{a: [1, ]}\nranks: x", "ranks: not an integer"),
        ("{a b: [1]}", "sweep.a b: not the name of a sweep's value"),
        ("[{a b: 1}]", "sweep.0.a b: not the name of a sweep's value"),
        ("[1]", "sweep.0: not a point"),
        ("[{}]", "sweep.0: not a point"),
        ("[{a: }]", "sweep.0.a: no value"),
        (f"{{a: [{','.join('1' * 101)}], b: [{','.join('1' * 101)}]}}", "sweep: too many points"),
    ],
)
def test_a_sweep_that_cannot_be_used_is_refused(complaints: Complaints, sweep: str, wrong: str) -> None:
    assert wrong in complaints(f"run: a\nsweep: {sweep}")[0]


@pytest.mark.parametrize(
    ("text", "key", "known"),
    [
        ("run: a ${{ sweep.lt }}\nsweep: {lr: [1]}", "run", "one of lr"),
        ("run: a\nname: x-${{ sweep.lt }}\nsweep: {lr: [1], b: [2]}", "name", "one of b, lr"),
        ("run: a\nenv: {A: '${{ sweep.lt }}'}\nsweep: [{lt: 1}, {lr: 1}]", "env.A", "a key of `sweep`"),
        ("run: a ${{ sweep.lt }}", "run", "a key of `sweep`, which has none"),
        ("run: a ${{ sweep.lt }}\nshell: true", "run", "a key of `sweep`, which has none"),
    ],
)
def test_an_unknown_value_of_the_sweep_is_refused(
    complaints: Complaints, text: str, key: str, known: str
) -> None:
    (line,) = complaints(text)

    assert f": {key}: unknown value of the sweep, got 'lt', expected {known}" in line


COLUMN = st.lists(st.text("abc01.-", min_size=1, max_size=4), min_size=1, max_size=4)


@given(st.dictionaries(st.sampled_from("abcd"), COLUMN, min_size=1))
def test_a_product_has_every_combination_once_in_order(columns: dict[str, list[str]]) -> None:
    quoted = ", ".join(f"{key}: [{', '.join(repr(v) for v in values)}]" for key, values in columns.items())
    points = spec(f"run: a\nsweep: {{{quoted}}}").sweep

    assert len(points) <= MAX_POINTS
    index = 0
    for point in points:
        rest = index
        for key in reversed(columns):
            rest, position = divmod(rest, len(columns[key]))
            assert point[key] == columns[key][position]
        index += 1
    assert index == len(points)


KEYS = [field.alias or name for name, field in JobSpec.model_fields.items()]
SCALAR = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12),
    st.sampled_from(["${A}", "${{ sweep.a }}", "$${", "1:30", "010", "16G", "2h", "any", "'", "a && b"]),
)  # fmt: skip
JUNK = st.recursive(
    SCALAR,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*KEYS, "name", "before", "hosts", "a", "A", "", "1"]), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(KEYS), JUNK, max_size=6))
def test_any_nested_values_are_a_spec_or_complaints(value: dict[str, Any]) -> None:
    import yaml

    try:
        found = parse(yaml.safe_dump(value, allow_unicode=True), "a.yaml", {"A": "1"})
    except SpecError as error:
        assert all(
            line.startswith(("a.yaml", "and ")) for line in str(error).split("\n") if "hint" not in line
        )
    else:
        assert found.run
