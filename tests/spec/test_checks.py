"""Keys that do not fit together are refused, each with its line."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobkit.env import names
from jobkit.spec import parse
from jobkit.spec.checks import CONTRACT_VARIABLES, TORCH_VARIABLES
from jobkit.spec.model import JobSpec

Complaints = Callable[..., list[str]]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("run: a ${S}\nsecrets: [S]", "run: a secret where it could be read, got '${S}'"),
        ("run: [a, 'x${S:-}']\nsecrets: [S]", "run: a secret where it could be read, got '${S}'"),
        ("run: a\nsecrets: [S]\nenv:\n  A: ${S}", "env.A: a secret where it could be read"),
        (
            'run: a\nname: n${{ sweep.a }}\nsweep: [{a: 1}, {a: "\\n"}]',
            "sweep: a character that no name can have, got '\\n', expected another value at point 1",
        ),
        ("run: a\nforward: [A]\nsecrets: [A]", "secrets.0: already under forward"),
        ("run: a\nenv: {A: 1}\nsecrets: [A]", "secrets.0: already under env"),
        ("run: a\nenv: {MASTER_PORT: 1}", "env.MASTER_PORT: jobkit sets it in every rank"),
        ("run: a\nforward: [JOBKIT_RANK]", "forward.0: jobkit sets it in every rank"),
        ("run: a\nsecrets: [MLX_HOSTFILE]", "secrets.0: jobkit sets it in every rank"),
        ("run: a\ntime: 60s\nsignal: {name: USR1}", "signal.before: not ahead of the time limit"),
        ("run: a\ntime: 60s\nsignal: {name: USR1, before: 2h}", "signal.before: not ahead of the time limit"),
    ],
)
def test_keys_that_do_not_fit_together_are_refused(complaints: Complaints, text: str, wrong: str) -> None:
    (line,) = complaints(text, environ={"S": "hush"})

    assert wrong in line
    assert "hush" not in line


def spec(text: str, **environ: str) -> JobSpec:
    """Return the spec of a YAML text."""
    return parse(text, "configs/a.yaml", environ)


def test_what_jobkit_sets_is_what_the_shim_sets() -> None:
    # A program may be told where its coordinator is; everything else of one process is the shim's.
    assert set(names.CONTRACT) | set(names.OWN) - {names.COORDINATOR} == CONTRACT_VARIABLES
    assert set(names.TORCH) == TORCH_VARIABLES


def test_without_a_group_torch_is_left_to_the_program() -> None:
    assert spec("run: a\nbackend: none\nenv: {MASTER_PORT: 29500}").backend == ("none",)


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
