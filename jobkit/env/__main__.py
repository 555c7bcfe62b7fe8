"""Become one rank's program, in the environment that its launcher and backend call for.

usage: python -m jobkit.env [--backend B[,B…]] [--ranks-per-node N] [--coordinator HOST[:PORT]]
                            [--chdir FOLDER] [--run-dir FOLDER [--point P]] [--] COMMAND [ARGUMENT…]
"""

from __future__ import annotations

import os
import sys

from jobkit.env import names
from jobkit.env.backends import parse
from jobkit.env.detect import detect
from jobkit.env.facts import facts
from jobkit.env.shim import prepare
from jobkit.env.start import become, enter, find
from jobkit.errors import Exit, JobkitError, LaunchError, SpecError, complaint

TYPE_CHECKING = False

if TYPE_CHECKING:
    from jobkit.env.gang import AgentLink

_OPTIONS = ("--backend", "--ranks-per-node", "--coordinator", "--chdir", "--run-dir", "--point")


def arguments(argv: list[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the options given and the command; argparse alone would double the shim's time.

    Raises:
        SpecError: An unknown option, one without its value, or no command.
    """
    given: dict[str, str] = {}
    words = iter(argv)
    for word in words:
        if word == "--" or not word.startswith("-"):
            command = (() if word == "--" else (word,)) + tuple(words)
            break
        name, equals, value = word.partition("=")
        if name not in _OPTIONS:
            raise SpecError(
                complaint("jobkit exec", "unknown option", got=word, expected=" or ".join(_OPTIONS))
            )
        given[name] = value if equals else next(words, "")
    else:
        command = ()
    if not command:
        raise SpecError(complaint("jobkit exec", "no command to run", hint="jobkit exec -- python train.py"))
    return given, command


def count(text: str) -> int:
    """Return a number of ranks.

    Raises:
        SpecError: It is none.
    """
    if not (text.isdecimal() and 0 < len(text) < 7 and int(text)):
        raise SpecError(complaint("--ranks-per-node", "not a count", got=text, expected="an integer >= 1"))
    return int(text)


def fan_out(argv: list[str], environ: dict[str, str]) -> None:
    """Become the program that has an agent start several ranks on this node: the shim knows no agent."""
    os.execve(sys.executable, [sys.executable, "-m", "jobkit.cli.fan_out", *argv], environ)


def agent_link(environ: dict[str, str]) -> AgentLink | None:
    """Return the connection to the agent that started this process, None without one.

    Raises:
        LaunchError: What the variable names is no such connection.
    """
    value = environ.get(names.AGENT_FD)
    if not value:
        return None
    from jobkit.env.gang import AgentLink

    try:
        return AgentLink(int(value))
    except (OSError, ValueError) as error:
        hint = f"unset {names.AGENT_FD}"
        raise LaunchError(
            complaint(names.AGENT_FD, "no connection to an agent", got=value, hint=hint)
        ) from error


def main(argv: list[str], environ: dict[str, str]) -> int:
    """Become the program, or watch it; returns an exit status unless the process has become the program."""
    link = None
    try:
        link = agent_link(environ)
        given, command = arguments(argv)
        backend = parse(given.get("--backend") or "any")
        if given.get("--run-dir"):
            from jobkit.env.handover import taken

            environ = taken(environ, given["--run-dir"], given.get("--point", ""))
        if given.get("--coordinator"):
            environ = {**environ, names.COORDINATOR: given["--coordinator"]}
        ranks = count(given.get("--ranks-per-node") or "1")
        if ranks > 1:
            fan_out(argv, environ)
        return run(environ, backend, given.get("--chdir", ""), command, link)
    except JobkitError as error:
        if link is None:
            _complain(f"jobkit: error: {error}\n")
            if environ.get(names.RUN_DIR):
                from jobkit.env.refusal import record

                record(environ, error)
        else:
            link.refuse(error.exit_status, str(error))
            link.close()
        return error.exit_status


def _complain(text: str) -> None:
    try:
        os.write(2, text.encode(errors="backslashreplace"))
    except OSError:
        return  # closed, or its disk is full: the exit status says it too


def run(
    environ: dict[str, str],
    backend: tuple[str, ...],
    folder: str,
    command: tuple[str, ...],
    link: AgentLink | None,
) -> int:
    """Become the program, or return its exit status where nobody else sees its end.

    Raises:
        JobkitError: It cannot be started.
    """
    found = detect(environ, facts(environ))
    if folder:
        enter(folder)
        environ = {**environ, "PWD": folder}
    program = find(command, environ)
    prepared = prepare(environ, found, backend, link)
    if prepared.watched:
        from jobkit.env.watch import watch

        return watch(program, command, prepared)
    if link is not None:
        link.starting()
    become(program, command, prepared.environ)
    return Exit.NOT_STARTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], dict(os.environ)))
