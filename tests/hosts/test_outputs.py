"""Texts by file."""

from __future__ import annotations

import subprocess

import pytest

from jobkit.errors import SpecError
from jobkit.hosts import outputs
from jobkit.hosts.outputs import Outputs


def test_a_text_that_is_needed_is_missed_with_what_makes_it() -> None:
    recorded = Outputs("h", "macs/h", {})
    asked = Outputs("h", "h", {}, {outputs.PROFILE: "not found"})

    assert (recorded.system, recorded.get(outputs.PROFILE)) == ("Darwin", "")
    with pytest.raises(SpecError, match=r"macs/h/system_profiler\.json: no such file\n\nhint: record `sys"):
        recorded.needed(outputs.PROFILE)
    with pytest.raises(SpecError, match=r"h: `system_profiler .*` failed there: not found"):
        asked.needed(outputs.PROFILE)
    assert Outputs("h", "h", {outputs.PROFILE: "{}"}).needed(outputs.PROFILE) == "{}"


def test_a_linux_host_without_rdma_is_no_failure() -> None:
    command = outputs.COMMANDS["Linux"][outputs.INFINIBAND].replace("/sys/class/infiniband", "/no/such")
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
