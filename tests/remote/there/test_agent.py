from __future__ import annotations

import json
import subprocess
import sys

from jobkit.remote import session


def test_a_host_says_what_it_is_and_becomes_what_was_asked_for() -> None:
    program = session.program("marker", ("frames", "launch", "agent"), "agent.main", ["-c", "print(input())"])
    environ = {"SSH_CONNECTION": "10.0.0.9 1 10.0.0.1 22", "A": "b"}
    command = [sys.executable, "-c", session.LOADER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ) as host:
        assert host.stdin
        assert host.stdout
        host.stdin.write(program)
        host.stdin.flush()
        assert [host.stdout.readline(), host.stdout.readline()] == [b"\n", b"marker\n"]
        hello = json.loads(host.stdout.readline())
        rest, _ = host.communicate(b"to the agent\n")
    assert (hello["client"], hello["address"], hello["environ"]["A"]) == ("10.0.0.9", "10.0.0.1", "b")
    assert rest == b"to the agent\n"
