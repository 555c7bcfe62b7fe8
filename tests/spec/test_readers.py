"""Each form of a value is read, and what cannot be used says why."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobkit.spec import parse
from jobkit.spec.model import JobSpec
from jobkit.spec.readers import MAX_POINTS

Complaints = Callable[..., list[str]]


def spec(text: str, **environ: str) -> JobSpec:
    """Return the spec of a YAML text."""
    return parse(text, "configs/a.yaml", environ)


def words(text: str, **environ: str) -> list[str]:
    """Return the words of `run`."""
    return [word.fill({}) for word in spec(text, **environ).run]


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
    assert spec("run: a\nworkdir: '~'", HOME="/h").workdir == "/h"
    assert spec("run: a\nworkdir: ~/${A}/~", HOME="/h${A}", A="a").workdir == "/h${A}/a/~"
    assert spec("run: a\nworkdir: ~b/${A}", A="~/a").workdir == "~b/~/a"
    assert spec("run: a\nworkdir: ~/x\nrun_dir: ${B}/y", HOME="/h", B="/b").workdir == "/h/x"
    assert spec("run: a\nrun_dir: ${B}/y", B="/b").run_dir == "/b/y"


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
        ("run: ${NONE:-}", "no program"),
        ("run: '\"\" a'", "no program"),
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
        ("run: a\nring: {connections_per_ip: 65}", "ring.connections_per_ip: too large"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused(complaints: Complaints, text: str, wrong: str) -> None:
    lines = complaints(text)

    assert len(lines) == (2 if text.count("${NONE}") == 2 else 1)
    assert wrong in lines[0]
