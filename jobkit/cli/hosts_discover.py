"""Find the mesh or the ring that the cables of hosts make, and write the hostfile.

Takes the flags of mlx.distributed_config. The commands that set the hosts up go to stderr, the hostfile to
stdout or to --output. The status is 1 where the cables do not make what is wanted.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobkit.hosts.addresses import Pair
    from jobkit.hosts.choice import Choice
    from jobkit.hosts.model import Topology

HELP = "find out how hosts are cabled; write the hostfile"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    from jobkit.cli import hosts_recorded

    hosts_recorded.add_arguments(parser)
    add = parser.add_argument
    add(
        "--over",
        choices=("thunderbolt", "ethernet"),
        default="thunderbolt",
        help="which network (%(default)s)",
    )
    add("--backend", metavar="B", help="ring, jaccl or jaccl-ring (the fastest that the cables allow)")
    add("--auto-setup", action="store_true", help="not available in this version: run the commands yourself")
    add("--output", "--output-hostfile", metavar="FILE", help="write the hostfile there")
    add("--dot", action="store_true", help="print the cables as a graph for Graphviz, and nothing else")
    add(
        "--env",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="set in every rank that is started with the hostfile; repeatable",
    )
    add("--verbose", action="store_true", help="say what was found, and how to take the commands back")


def run(args: argparse.Namespace) -> int:
    """Print the hostfile, or the graph."""
    from jobkit.cli import hosts_recorded, talk
    from jobkit.cli.launching import variables
    from jobkit.errors import Exit
    from jobkit.hosts import dot

    _check(args)
    envs = tuple(f"{name}={value}" for name, value in variables(args.env, "--env").items())
    found = hosts_recorded.topology(args)
    if args.over == "ethernet":
        return _ethernet(args, found, envs)
    for remark in found.remarks:
        talk.warn(remark)
    if args.dot:
        hosts_recorded.write(dot.draw(found), args.output)
        return Exit.OK
    return _thunderbolt(args, found, envs)


def _check(args: argparse.Namespace) -> None:
    from jobkit.errors import SpecError, complaint
    from jobkit.hosts.choice import BACKENDS, RING

    if args.backend not in (None, *BACKENDS):
        known = ", ".join(BACKENDS)
        raise SpecError(complaint("--backend", "unknown name", got=args.backend, expected=f"one of {known}"))
    if args.auto_setup:
        hint = "leave it out, and run the commands that are printed"
        raise SpecError(complaint("--auto-setup", "not available in this version", hint=hint))
    if args.over == "ethernet" and (args.dot or args.backend not in (None, RING)):
        flag = "--dot" if args.dot else f"--backend {args.backend}"
        raise SpecError(complaint(flag, "needs cables", got="--over ethernet", expected="--over thunderbolt"))


def _ethernet(args: argparse.Namespace, found: Topology, envs: tuple[str, ...]) -> int:
    from jobkit.cli import hosts_recorded, talk
    from jobkit.errors import Exit, complaint
    from jobkit.hosts import hostfile

    without = [host.name for host in found.hosts if not host.addresses]
    for name in without:
        talk.error(complaint(name, "has no address on en0 or en1"))
    if without:
        return Exit.FINDING
    rows = hostfile.ethernet_rows(found.hosts)
    hosts_recorded.write(hostfile.to_json(rows, args.backend or "", envs), args.output)
    return Exit.OK


def _thunderbolt(args: argparse.Namespace, found: Topology, envs: tuple[str, ...]) -> int:
    from jobkit.cli import hosts_recorded, talk
    from jobkit.errors import Exit
    from jobkit.hosts import addresses, choice, hostfile

    chosen = choice.choose(found, args.backend or "", hosts_recorded.limit())
    if args.verbose:
        _say_what_was_found(found, chosen)
    if not chosen.backend:
        for problem in chosen.problems:
            talk.error(problem)
        return Exit.FINDING
    if not chosen.decided:
        talk.warn(f"the search ended undecided: a ring with more than {chosen.width} cables may exist")
    planned = addresses.plan(found)
    _say_commands(found, planned, undo=args.verbose)
    of_cable = dict(zip(found.cables, planned, strict=True))
    rows = hostfile.rows(chosen, tuple(of_cable[cable] for cable in chosen.topology.cables))
    hosts_recorded.write(hostfile.to_json(rows, chosen.backend, envs), args.output)
    return Exit.OK


def _say_what_was_found(found: Topology, chosen: Choice) -> None:
    from jobkit.cli import talk
    from jobkit.hosts import dot

    for cable in found.cables:
        one, other = (found.hosts[end.host].name for end in cable.ends)
        talk.say(f"cable: {one} -- {other}: {dot.with_speed(cable)}")
    if chosen.backend:
        for problem in chosen.problems:
            talk.say(f"not {problem}")
        names = ", ".join(found.hosts[index].name for index in chosen.order)
        talk.say(f"backend: {chosen.backend}, cables between two hosts: {chosen.width}, rank order: {names}")


def _say_commands(found: Topology, planned: tuple[Pair, ...], *, undo: bool) -> None:
    from jobkit.cli import talk
    from jobkit.hosts import addresses, choice, setup

    unknown = addresses.unchecked(found)
    if unknown:
        wrong = "that the cables' addresses collide with no network there was not checked"
        talk.warn(f"no ifconfig.txt and netstat.txt of {choice.shortened(list(unknown))}: {wrong}")
    for index, host in enumerate(found.hosts):
        talk.say(f"# on {host.name} (until it restarts):")
        for command in setup.commands(found, planned, index):
            talk.say(command)
        if undo:
            talk.say(f"# to take it back on {host.name}:")
            for command in setup.undo(found, planned, index):
                talk.say(command)
