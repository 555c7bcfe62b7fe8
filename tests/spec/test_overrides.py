"""`--set` replaces values as if they had been written in the file."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobkit.spec import JobSpec, parse

TEXT = "run: a\nranks: 2\nenv: {A: '1'}\nretries: {failed: 1}\n"


def overridden(*overrides: str) -> JobSpec:
    """Return the spec above with overrides."""
    return parse(TEXT, "a.yaml", {"HOME": "/home/a"}, overrides=overrides)


def test_a_value_is_replaced_and_the_last_one_counts() -> None:
    assert overridden("ranks=3", "ranks=4").ranks == 4


def test_a_value_is_yaml() -> None:
    assert overridden("setup=[a, b c]").setup == ("a", "b c")
    assert overridden("env={B: no}").env["B"].fill({}) == "no"
    assert overridden("retries.failed=3").retries.failed == 3
    assert [word.fill({}) for word in overridden("run=python -c 'raise SystemExit(7)'").run][
        -1
    ] == "raise SystemExit(7)"


def test_other_keys_of_a_section_stay() -> None:
    spec = overridden("env.B=${HOME}=x", "retries.preempted=2")

    assert {name: value.fill({}) for name, value in spec.env.items()} == {"A": "1", "B": "/home/a=x"}
    assert (spec.retries.failed, spec.retries.preempted) == (1, 2)


def test_a_missing_section_is_made() -> None:
    assert overridden("network.ports=1000-2000").network.ports == (1000, 2000)
    assert overridden("slurm.srun.mpi=pmix").slurm.srun == {"mpi": "pmix"}


def test_nothing_or_null_is_the_default() -> None:
    assert overridden("ranks=").ranks is None
    assert overridden("ranks=null").ranks is None


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("ranks=two", "--set ranks: not an integer, got 'two', expected an integer >= 1"),
        ("rank=2", "--set rank: unknown key, got 'rank', expected 'ranks', the nearest key"),
        (
            "retries.feiled=2",
            "--set retries.feiled: unknown key, got 'feiled', expected 'failed', the nearest key",
        ),
        (
            "retries={feiled: 2}",
            "--set retries: retries.feiled: unknown key, got 'feiled', expected 'failed', the nearest key",
        ),
        ("env={A: 1, A: 2}", "--set env: env.A: given twice, both here, expected one of the two"),
        ("env.A=", '--set env.A: no value, got nothing, expected text; "" for an empty one'),
        (
            "ranks",
            "--set ranks: not an override, got 'ranks', expected --set KEY=VALUE or --set SECTION.KEY=VALUE",
        ),
        ("=1", "--set : not an override, got '=1', expected --set KEY=VALUE or --set SECTION.KEY=VALUE"),
        (
            "a..b=1",
            "--set a..b: not an override, got 'a..b=1', expected --set KEY=VALUE or --set SECTION.KEY=VALUE",
        ),
        ("ranks.x=1", "--set ranks.x: ranks has no keys, got 2, expected a section; or set it as a whole"),
        (
            "setup=[",
            "--set setup: not YAML: expected the node content, but found '<stream end>' "
            "while parsing a flow node",
        ),
        (
            "time=1:30",
            "--set time: hours or minutes?, got 1:30, expected HH:MM:SS, such as 1:30:00 or 00:1:30",
        ),
    ],
)
def test_a_wrong_override_is_named(complaints: Callable[..., list[str]], override: str, line: str) -> None:
    assert complaints(TEXT, override)[0] == line


def test_a_value_that_was_replaced_is_not_complained_about() -> None:
    assert parse("run: a\nranks: two\n", "a.yaml", {}, overrides=["ranks=2"]).ranks == 2


def test_complaints_about_overrides_come_last(complaints: Callable[..., list[str]]) -> None:
    lines = complaints("run: a\nranks: two\n", "nodes=x")

    assert [line.split(": ")[0] for line in lines] == ["a.yaml:2", "--set nodes"]
