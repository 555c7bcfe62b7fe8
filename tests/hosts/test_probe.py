"""What a host is asked, and what becomes of its answers."""

from __future__ import annotations

from typing import Any

import pytest

from jobkit.hosts import outputs, probe
from jobkit.hosts.shell import Output


class Told:
    """A shell whose answers are known."""

    host = "h"

    def __init__(self, system: str) -> None:
        self.system = system
        self.asked: list[str] = []

    def run(self, command: str) -> Output:
        self.asked.append(command)
        if command == "uname -s":
            return Output(0, f"{self.system}\n", "")
        return (
            Output(1, "half", "no luck") if "ibv" in command or "rdma" in command else Output(0, command, "")
        )


@pytest.mark.parametrize("system", ["Darwin", "Linux"])
def test_every_command_of_its_system_is_asked(system: str) -> None:
    shell: Any = Told(system)

    found = probe.ask(shell)

    commands = outputs.COMMANDS[system]
    assert shell.asked == [*outputs.COMMON.values(), *commands.values()]
    failed = outputs.RDMA if system == "Darwin" else outputs.RDMA_LINK
    assert (found.system, found.failed) == (system, {failed: "no luck"})
    assert {*found.texts, failed} == {*outputs.COMMON, *commands}


def test_of_an_unknown_system_no_more_is_asked() -> None:
    shell: Any = Told("Plan9")
    assert probe.ask(shell).system == "Plan9"
    assert shell.asked == list(outputs.COMMON.values())
