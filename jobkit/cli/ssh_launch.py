"""Launch on hosts that are reached over SSH."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace

from jobkit.agent.request import Request
from jobkit.cli.foreground import Foreground
from jobkit.cli.launching import Hosts, is_here, words
from jobkit.remote.crew import Host, SshCrew, There, pythons


def launch_on(asked: Request, hosts: Hosts, args: argparse.Namespace) -> int:
    """Run a request's ranks on every host; return the status of the first to fail.

    Args:
        asked: For this machine, with the ranks of all.
        hosts: One per rank.
        args: The flags.
    """
    there = There(
        words(args),
        pythons(args.agent_python),
        asked.workdir,
        is_asked_for=bool(args.cwd),
        finds_python=not args.python,
        host_keys=args.host_keys,
    )
    groups = grouped(hosts.names)
    whole = replace(asked, local_size=len(groups[0].ranks), nodes=len(groups), addresses=hosts.addresses)
    foreground = Foreground(whole, label=args.label, table=args.table, hosts=hosts.names)
    return foreground.run(lambda: SshCrew(whole, groups, there))


def grouped(names: tuple[str, ...]) -> tuple[Host, ...]:
    """Return the hosts with their ranks, in the order of their first ones: each has one agent.

    >>> [(host.name, host.ranks) for host in grouped(("h1", "h2", "h1"))]
    [('h1', (0, 2)), ('h2', (1,))]
    """
    ranks: dict[str, list[int]] = {}
    for rank, name in enumerate(names):
        ranks.setdefault(os.uname().nodename if is_here(name) else name, []).append(rank)
    return tuple(Host(names[own[0]], tuple(own), is_here(names[own[0]])) for own in ranks.values())
