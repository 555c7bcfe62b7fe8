"""Ask a host what a recording of it holds."""

from __future__ import annotations

from jobkit.hosts import outputs
from jobkit.hosts.outputs import Outputs
from jobkit.hosts.shell import Shell


def ask(shell: Shell) -> Outputs:
    """Return what the commands on a host print; a command that fails does not end the others.

    Raises:
        LostError: The connection broke.
        SubmitError: A command prints without end.
    """
    texts: dict[str, str] = {}
    failed: dict[str, str] = {}
    _run(shell, outputs.COMMON, texts, failed)
    _run(shell, outputs.COMMANDS.get(texts[outputs.SYSTEM].strip(), {}), texts, failed)
    return Outputs(shell.host, shell.host, texts, failed)


def _run(shell: Shell, commands: dict[str, str], texts: dict[str, str], failed: dict[str, str]) -> None:
    for file, command in commands.items():
        done = shell.run(command)
        if done.status == 0:
            texts[file] = done.text
        else:
            failed[file] = done.why
