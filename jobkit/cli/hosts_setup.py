"""Give the cables' interfaces their addresses: by commands that are printed, or run (--auto-setup)."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobkit.cli.hosts_source import Found
    from jobkit.hosts.addresses import Pair
    from jobkit.hosts.model import Topology

BY_HAND = -1  # what cannot be run was printed, and the hostfile is of use once it was


def set_up(args: argparse.Namespace, found: Found, planned: tuple[Pair, ...]) -> int:
    """Print the commands, or run them; return OK, BY_HAND, or FINDING where they failed.

    Args:
        args: The flags.
        found: The hosts.
        planned: The addresses of each cable.
    """
    from jobkit.cli import talk
    from jobkit.errors import Exit
    from jobkit.hosts import addresses, applying, choice

    unknown = addresses.unchecked(found.topology)
    if unknown:
        wrong = "that the cables' addresses collide with no network there was not checked"
        talk.warn(f"no ifconfig.txt and netstat.txt of {choice.shortened(list(unknown))}: {wrong}")
    refused = applying.without_sudo(found.shells) if args.auto_setup else []
    if args.auto_setup and not refused:
        return _run(args, found, planned)
    for problem in refused:
        talk.error(problem)
    if refused:
        talk.say("no host was changed; these are the commands:")
    _say_commands(found.topology, planned, in_full=args.verbose)
    return BY_HAND if refused else Exit.OK


def _run(args: argparse.Namespace, found: Found, planned: tuple[Pair, ...]) -> int:
    from jobkit.cli import hosts_source, talk
    from jobkit.errors import Exit
    from jobkit.hosts import applying, setup

    hosts = [
        applying.Host(shell, setup.steps(found.topology, planned, index))
        for index, shell in enumerate(found.shells)
    ]
    say = talk.say if args.verbose else _silence
    try:
        outcome = applying.apply(hosts, hosts_source.shell, say)
    finally:
        for host in hosts:
            host.shell.close()
    for error in outcome.errors:
        talk.error(error)
    if outcome.errors or outcome.is_interrupted:
        done = ", ".join(outcome.taken_back)
        talk.say(f"taken back what was changed on {done}" if done else "no other host was changed")
        if outcome.is_interrupted:
            raise KeyboardInterrupt
        return Exit.FINDING
    for name, count in outcome.changes.items():
        talk.say(f"{name}: {count} change{'s' * (count != 1)}" if count else f"{name}: nothing to change")
    if args.verbose:
        _say_ways(found.topology, planned)
    else:
        talk.say("this lasts until a host restarts: --verbose shows what keeps it, and what undoes it")
    return Exit.OK


def _silence(_text: str) -> None:
    """Say nothing."""


def _say_commands(found: Topology, planned: tuple[Pair, ...], *, in_full: bool) -> None:
    from jobkit.cli import talk
    from jobkit.hosts import setup

    more = "" if in_full else "; --verbose shows what keeps it"
    for index, host in enumerate(found.hosts):
        talk.say(f"# on {host.name} (until it restarts{more}):")
        for command in setup.commands(found, planned, index):
            talk.say(command)
    if in_full:
        _say_ways(found, planned)


def _say_ways(found: Topology, planned: tuple[Pair, ...]) -> None:
    """Say how each host keeps what was set up, and how it is taken back."""
    from jobkit.cli import talk
    from jobkit.hosts import setup

    for index, host in enumerate(found.hosts):
        talk.say(f"# to keep it over restarts on {host.name}:")
        for command in setup.keep(found, planned, index):
            talk.say(command)
        talk.say(f"# to take it back on {host.name}:")
        for command in setup.undo(found, planned, index):
            talk.say(command)
