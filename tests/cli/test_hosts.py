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
def test_a_host_that_cannot_be_asked_is_told_with_status_1(jobkit: Callable[..., Any], action: str) -> None:
    done = jobkit("hosts", action, "--hosts", "no.such.host.invalid")

    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("jobkit: error: no.such.host.invalid: no such host: ")
    assert "hint: --hosts takes user@host" in done.err
