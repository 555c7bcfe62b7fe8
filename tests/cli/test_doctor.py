"""`jobkit doctor`: the table, its JSON, its exit status."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_this_machine_alone(jobkit: Callable[..., Any], jobkit_home: Path) -> None:
    done = jobkit("doctor")
    assert done.status == 0
    assert re.search(rf"^ok +JOBKIT_HOME +{re.escape(str(jobkit_home))}$", done.out, re.M)
    assert "hint" not in done.out


def test_what_would_fail_gives_status_1_and_a_remedy(
    jobkit: Callable[..., Any],
    spec: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = spec("executor: slurm\nrun: 'true'\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    done = jobkit("doctor", name, "--no-run")
    assert done.status == 1
    assert re.search("^fails +Slurm +sbatch: no such program on this machine$", done.out, re.M)
    assert done.out.endswith("\n\nhint: Slurm: run it on a login node of the cluster\n")
    shown = jobkit("doctor", name, "--no-run", "--json").json
    assert shown["ok"] is False
    assert {"check", "state", "found", "remedy"} == set(shown["checks"][0])


def test_a_spec_that_its_executor_refuses_fails(jobkit: Callable[..., Any], spec: Callable[..., str]) -> None:
    name = spec("executor: slurm\nrun: 'true'\nslurm: {extra: {array: 1-2}}\n")
    done = jobkit("doctor", name, "--no-run")
    assert done.status == 1
    assert "hint: spec: change the spec" in done.out


def test_a_spec_that_is_wrong_is_bad_usage(jobkit: Callable[..., Any], spec: Callable[..., str]) -> None:
    assert jobkit("doctor", spec("nodes: two\nrun: 'true'\n")).status == 2
