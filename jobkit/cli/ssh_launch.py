"""Launch on hosts that are reached over SSH."""

from __future__ import annotations

import argparse
import itertools
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
    there = There(words(args), pythons(args.agent_python), asked.workdir, bool(args.cwd), not args.python)
    groups = grouped(hosts.names)
    whole = replace(asked, local_size=groups[0].ranks, nodes=len(groups))
    foreground = Foreground(whole, label=args.label, table=args.table)
    return foreground.run(lambda: SshCrew(whole, groups, there, hosts.address))


def grouped(names: tuple[str, ...]) -> tuple[Host, ...]:
    """Return the hosts with their ranks: those of one that follow each other have one agent.

    >>> [(host.name, host.ranks) for host in grouped(("h1", "h1", "h2"))]
    [('h1', 2), ('h2', 1)]
    """
    runs = itertools.groupby(names, key=lambda name: (is_here(name), not is_here(name) and name))
    found = []
    for (here, _), same in runs:
        ranks = list(same)
        found.append(Host(ranks[0], len(ranks), here))
    return tuple(found)
