"""`jobkit hosts`: its actions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobkit.cli import parser
from jobkit.cli.hosts import ACTIONS


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_has_help(action: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser(("hosts",)).parse_args(["hosts", action, "--help"])

    assert ended.value.code == 0
    assert capfd.readouterr().out.lower().startswith(f"usage: jobkit hosts {action}")


@pytest.mark.parametrize("words", [(), ("chart",)])
def test_an_action_that_is_none_is_bad_usage(
    words: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parser(("hosts",)).parse_args(["hosts", *words])

    assert ended.value.code == 2


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("words", [(), ("--hosts", "a,b")])
def test_discovery_over_ssh_is_refused_with_a_way_out(
    jobkit: Callable[..., Any], action: str, words: tuple[str, ...]
) -> None:
    done = jobkit("hosts", action, *words)

    assert (done.status, done.out) == (2, "")
    assert "discovery over SSH is not available in this version" in done.err
    assert "hint: " in done.err and "--from DIR" in done.err
