"""Every complaint comes at once, with its line, its key and what to write instead."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobkit.spec.complaints import MAX_COMPLAINTS, section_of
from jobkit.spec.model import JobSpec, Retries, Signal

Complaints = Callable[..., list[str]]

MANY = """\
run: python a.py
rank: 4
nodes: two
backend: [ring, rign]
executor: slrum
retries: {failed: -1, feiled: 2}
env:
  A: null
  1B: x
  MLX_RANK: 3
setup: module load cuda
time: 1:30
memory: 16
network: 7
signal: {nme: USR1}
inherit: no
forward: [A-B]
sweep: {lr: 0.1}
run: again
"""


def test_all_complaints_come_at_once_in_the_order_of_their_lines(complaints: Complaints) -> None:
    assert complaints(MANY) == [
        "a.yaml:2: rank: unknown key, got 'rank', expected 'ranks', the nearest key",
        "a.yaml:3: nodes: not an integer, got 'two', expected an integer >= 1",
        "a.yaml:4: backend.1: unknown name, got 'rign', "
        "expected one of any, ring, jaccl, jaccl-ring, mpi, nccl, none",
        "a.yaml:5: executor: unknown name, got 'slrum', expected one of local, slurm, ssh",
        "a.yaml:6: retries.failed: too small, got -1, expected an integer >= 0",
        "a.yaml:6: retries.feiled: unknown key, got 'feiled', expected 'failed', the nearest key",
        'a.yaml:8: env.A: no value, got null, expected text; "" for an empty one',
        "a.yaml:9: env.1B: not the name of a variable, got '1B', "
        "expected letters, digits and _, first a letter or _",
        "a.yaml:11: setup: not a list, got 'module load cuda', expected a list: [a, b]",
        "a.yaml:12: time: hours or minutes?, got 1:30, expected HH:MM:SS, such as 1:30:00 or 00:1:30",
        "a.yaml:13: memory: no unit, got 16, expected a size: 512M, 16G (K, M, G, T are powers of 1024)",
        "a.yaml:14: network: not a section, got 7, expected a mapping: {key: value}",
        "a.yaml:15: signal.name: missing, expected which signal, with or without SIG",
        "a.yaml:15: signal.nme: unknown key, got 'nme', expected 'name', the nearest key",
        "a.yaml:16: inherit: a boolean in YAML 1.1 only, got no, expected true or false",
        "a.yaml:17: forward.0: not the name of a variable, got 'A-B', "
        "expected letters, digits and _, first a letter or _",
        "a.yaml:18: sweep.lr: not a list of values, got 0.1, expected a list: [0.1, 0.01]",
        "a.yaml:19: run: given twice, first on line 1, expected one of the two",
    ]


def test_checks_between_keys_are_made_although_another_key_is_wrong(complaints: Complaints) -> None:
    assert complaints("run: a\nranks: 5\nnodes: 2\nexecutor: x\nenv: {MLX_RANK: 1}\n") == [
        "a.yaml:2: ranks: cannot be spread evenly with nodes: 2, got 5, expected a multiple of 2",
        "a.yaml:4: executor: unknown name, got 'x', expected one of local, slurm, ssh",
        "a.yaml:5: env.MLX_RANK: jobkit sets it in every rank, got 'MLX_RANK', expected another variable",
    ]


def test_one_mistake_is_not_told_twice(complaints: Complaints) -> None:
    assert len(complaints("run: a && b\nshell: yes\n")) == 1
    assert len(complaints("run: a ${{ sweep.lr }}\nsweep: {lr: 1}\n")) == 1


def test_a_missing_run_is_placed_at_the_top(complaints: Complaints) -> None:
    assert complaints("ranks: 2\n") == [
        "a.yaml:1: run: missing, expected the program with its arguments, as text or as a list of words"
    ]


def test_a_key_that_is_near_to_none_lists_all(complaints: Complaints) -> None:
    line = complaints("run: a\nretries: {zzz: 1}\n")[0]

    assert (
        line
        == "a.yaml:2: retries.zzz: unknown key, got 'zzz', expected one of preempted, node_failure, failed"
    )


def test_an_unknown_key_without_a_value_is_still_unknown(complaints: Complaints) -> None:
    assert "unknown key" in complaints("run: a\nfoo:\n")[0]


def test_very_many_complaints_are_counted(complaints: Complaints) -> None:
    lines = complaints("run: a\n" + "".join(f"key{n}: 1\n" for n in range(3 * MAX_COMPLAINTS)))

    assert len(lines) <= MAX_COMPLAINTS + 1


@pytest.mark.parametrize(("path", "model"), [((), JobSpec), (("retries",), Retries), (("signal",), Signal)])
def test_a_section_is_found_by_its_path(path: tuple[str, ...], model: type) -> None:
    assert section_of(path, JobSpec) is model
