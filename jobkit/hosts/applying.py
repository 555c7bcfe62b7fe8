"""Make the changes of all hosts, or of none: what was changed is taken back where one host fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from jobkit.errors import JobkitError, complaint
from jobkit.hosts import fan_out
from jobkit.hosts.setup import Step
from jobkit.hosts.shell import Shell

Say = Callable[[str], None]


@dataclass(frozen=True)
class Undo:
    """What takes a change back.

    Attributes:
        command: In the language of /bin/sh.
        is_needed: Succeeds where there is something to take back; "" where that is always so.
    """

    command: str
    is_needed: str = ""


@dataclass
class Host:
    """One host's part.

    Attributes:
        shell: On it.
        steps: Its changes.
        undo: What takes back what was changed, the last change first.
        error: Why it stopped; "" if it did not.
        is_lost: Whether the connection broke.
        turn: Held by whoever talks to the shell.
    """

    shell: Shell
    steps: tuple[Step, ...]
    undo: list[Undo] = field(default_factory=list)
    error: str = ""
    is_lost: bool = False
    turn: threading.Lock = field(default_factory=threading.Lock)

    @property
    def name(self) -> str:
        """How ssh knows it."""
        return self.shell.host


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        changes: Commands that were run, by host.
        errors: Why it failed, and the state of every host whose changes could not be taken back.
        taken_back: Hosts whose changes were.
        is_interrupted: Whether the user ended it.
    """

    changes: dict[str, int]
    errors: tuple[str, ...] = ()
    taken_back: tuple[str, ...] = ()
    is_interrupted: bool = False


def without_sudo(shells: Sequence[Shell]) -> list[str]:
    """Return why hosts may not be changed: sudo asks for a password there, or is missing."""
    answers = fan_out.each([shell.host for shell in shells], _by_name(shells, _try_sudo))
    return [str(answer) for answer in answers if answer]


def _try_sudo(shell: Shell) -> str:
    done = shell.run("sudo -n true")
    return "" if done.status == 0 else complaint(shell.host, f"no sudo without a password ({done.why})")


def apply(hosts: Sequence[Host], again: Callable[[str], Shell], say: Say) -> Outcome:
    """Make the changes of every host at once, each only where it is needed, and checked afterwards.

    Args:
        hosts: Their shells and changes.
        again: Opens another shell on a host whose connection broke.
        say: Is told each command that is run.
    """
    stop = threading.Event()
    by_name = {host.name: host for host in hosts}
    is_interrupted = False
    try:
        fan_out.each(list(by_name), lambda name: _change(by_name[name], stop, say))
    except KeyboardInterrupt:
        is_interrupted = True
        stop.set()
    if not is_interrupted and not any(host.error for host in hosts):
        return Outcome({host.name: len(host.undo) for host in hosts})
    failed = [host.error for host in hosts if host.error]
    taken_back, left = _take_back(by_name, again, say)
    return Outcome({host.name: 0 for host in hosts}, (*failed, *left), taken_back, is_interrupted)


def _change(host: Host, stop: threading.Event, say: Say) -> None:
    with host.turn:
        try:
            for step in host.steps:
                if stop.is_set():
                    return
                _make(host, step, say)
                if host.error:
                    stop.set()
                    return
        except JobkitError as error:
            host.error, host.is_lost = str(error), True
            stop.set()


def _make(host: Host, step: Step, say: Say) -> None:
    shell = host.shell
    if shell.run(step.is_done).status == 0:
        return
    before = shell.run(step.before).text.strip() if step.before else ""
    say(f"{host.name}: {step.do}")
    # Before it is made: a connection that breaks now leaves open whether it was.
    undo = Undo(f"{step.again} {before}") if before else Undo(step.undo, step.is_done)
    host.undo.insert(0, undo)
    done = shell.run(_never_asking(step.do))
    if done.status or shell.run(step.is_done).status:
        why = done.why if done.status else "it has had no effect"
        host.error = complaint(host.name, f"`{step.do}` failed: {why}")


def _never_asking(command: str) -> str:
    return command.replace("sudo ", "sudo -n ")


def _take_back(
    hosts: dict[str, Host], again: Callable[[str], Shell], say: Say
) -> tuple[tuple[str, ...], list[str]]:
    """Take back what was changed; return the hosts where that was done, and the state of those where not."""
    were_changed = fan_out.each(list(hosts), lambda name: _undo(hosts[name], again, say))
    left = [
        complaint(
            host.name,
            f"its changes could not be taken back ({host.error.partition(': ')[2] or 'no answer'})",
            hint="run there: " + "; ".join(undo.command for undo in host.undo),
        )
        for host in hosts.values()
        if host.undo
    ]
    done = [
        host.name
        for host, was_changed in zip(hosts.values(), were_changed, strict=True)
        if was_changed is True and not host.undo
    ]
    return tuple(done), left


def _undo(host: Host, again: Callable[[str], Shell], say: Say) -> bool:
    """Take back what was changed on a host; return whether anything was."""
    with host.turn:
        if not host.undo:
            return False
        if host.is_lost:
            host.shell.close()
            host.shell = again(host.name)
        while host.undo:
            undo = host.undo[0]
            if not undo.is_needed or host.shell.run(undo.is_needed).status == 0:
                say(f"{host.name}: {undo.command}")
                done = host.shell.run(_never_asking(undo.command))
                if done.status:
                    host.error = complaint(host.name, f"`{undo.command}` failed: {done.why}")
                    return True
            host.undo.pop(0)
    return True


def _by_name(shells: Sequence[Shell], do: Callable[[Shell], str]) -> Callable[[str], str]:
    known = {shell.host: shell for shell in shells}
    return lambda name: do(known[name])
