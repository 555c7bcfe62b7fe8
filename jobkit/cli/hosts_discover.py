"""Find the mesh or the ring that the cables of hosts make, and write the hostfile.

Takes the flags of mlx.distributed_config. The commands that set the hosts up go to stderr, the hostfile to
stdout or to --output. The status is 1 where a host cannot be asked or set up, or the cables do not make what
is wanted.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobkit.cli.hosts_source import Found
    from jobkit.hosts.addresses import Pair
    from jobkit.hosts.choice import Choice
    from jobkit.hosts.model import Topology

HELP = "find out how hosts are cabled; write the hostfile"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    from jobkit.cli import hosts_source

    hosts_source.add_arguments(parser)
    add = parser.add_argument
    add("--backend", metavar="B", help="ring, jaccl or jaccl-ring (the fastest that the cables allow)")
    add(
        "--auto-setup",
        action=argparse.BooleanOptionalAction,
        help="run the commands, with sudo, which may not ask for a password; all hosts or none",
    )
    add("--output", "--output-hostfile", metavar="FILE", help="write the hostfile there")
    add("--dot", action="store_true", help="print the cables as a graph for Graphviz, and nothing else")
    add(
        "--env",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="set in every rank that is started with the hostfile; repeatable",
    )
    add("--verbose", action="store_true", help="say what was found, and how to keep or undo what is set up")


def run(args: argparse.Namespace) -> int:
    """Print the hostfile, or the graph."""
    from jobkit.cli import hosts_source
    from jobkit.cli.launching import variables
    from jobkit.errors import Exit

    _check(args)
    envs = tuple(f"{name}={value}" for name, value in variables(args.env, "--env").items())
    found = hosts_source.find(args)
    if found is None:
        return Exit.FINDING
    try:
        return _report(args, found, envs)
    finally:
        found.close()


def _check(args: argparse.Namespace) -> None:
    from jobkit.errors import SpecError, complaint
    from jobkit.hosts.choice import BACKENDS, RING
    from jobkit.hosts.machine import ETHERNET, RDMA, THUNDERBOLT

    if args.backend not in (None, *BACKENDS):
        known = ", ".join(BACKENDS)
        raise SpecError(complaint("--backend", "unknown name", got=args.backend, expected=f"one of {known}"))
    if args.over == ETHERNET and (args.dot or args.backend not in (None, RING)):
        flag = "--dot" if args.dot else f"--backend {args.backend}"
        raise SpecError(complaint(flag, "needs cables", got="--over ethernet", expected="--over thunderbolt"))
    if args.over == RDMA and args.backend == RING:
        raise SpecError(complaint("--backend ring", "has no RDMA", got="--over rdma", expected="ethernet"))
    if args.auto_setup and args.from_ is not None:
        hint = "leave it out, and run the commands that are printed"
        raise SpecError(complaint("--auto-setup", "a recording cannot be set up", hint=hint))
    if args.auto_setup and args.over != THUNDERBOLT:
        wrong = "there is nothing to set up: the hosts have their addresses"
        raise SpecError(complaint("--auto-setup", wrong, got=f"--over {args.over}"))


def _report(args: argparse.Namespace, found: Found, envs: tuple[str, ...]) -> int:
    from jobkit.cli import hosts_source, talk
    from jobkit.errors import Exit
    from jobkit.hosts import dot
    from jobkit.hosts.machine import ETHERNET

    if args.over == ETHERNET:
        return _ethernet(args, found.topology, envs)
    for remark in found.topology.remarks:
        talk.warn(remark)
    if args.dot:
        hosts_source.write(dot.draw(found.topology), args.output)
        return Exit.OK
    return _cabled(args, found, envs)


def _ethernet(args: argparse.Namespace, found: Topology, envs: tuple[str, ...]) -> int:
    from jobkit.cli import hosts_source, talk
    from jobkit.errors import Exit
    from jobkit.hosts import ethernet, hostfile

    chosen = ethernet.choose(found.hosts)
    for problem in chosen.problems:
        talk.error(problem)
    if chosen.problems:
        return Exit.FINDING
    if chosen.remark:
        talk.warn(chosen.remark)
    rows = hostfile.ethernet_rows(found.hosts, chosen.addresses)
    hosts_source.write(hostfile.to_json(rows, args.backend or "", envs), args.output)
    return Exit.OK


def _cabled(args: argparse.Namespace, found: Found, envs: tuple[str, ...]) -> int:
    from jobkit.cli import hosts_setup, hosts_source, talk
    from jobkit.errors import Exit
    from jobkit.hosts import addresses, choice, hostfile
    from jobkit.hosts.machine import THUNDERBOLT

    topology = found.topology
    among = choice.FASTEST_FIRST if args.over == THUNDERBOLT else choice.WITH_RDMA
    chosen = choice.choose(topology, args.backend or "", hosts_source.limit(), among)
    if args.verbose:
        _say_what_was_found(topology, chosen)
    if not chosen.backend:
        for problem in chosen.problems:
            talk.error(problem)
        return Exit.FINDING
    if not chosen.decided:
        talk.warn(f"the search ended undecided: a ring with more than {chosen.width} cables may exist")
    status: int = Exit.OK
    planned: tuple[Pair, ...] = ()
    if args.over == THUNDERBOLT:
        planned = addresses.plan(topology)
        status = hosts_setup.set_up(args, found, planned)
        if status not in (Exit.OK, hosts_setup.BY_HAND):
            return Exit.FINDING
    of_cable = dict(zip(topology.cables, planned, strict=False))
    rows = hostfile.rows(chosen, of_cable)
    hosts_source.write(hostfile.to_json(rows, chosen.backend, envs), args.output)
    return Exit.OK if status == Exit.OK else Exit.FINDING


def _say_what_was_found(found: Topology, chosen: Choice) -> None:
    from jobkit.cli import talk
    from jobkit.hosts import dot
    from jobkit.hosts.model import LINUX

    for host in found.hosts if found.hosts[0].system == LINUX else ():
        for device in host.rdma:
            layer = f" {device.layer}" if device.layer else ""
            gids = ", ".join(f"{gid.index}: {gid.gid} {gid.kind}".strip() for gid in device.gids)
            words = f"{device.interface}, port {device.port} {device.state or 'listed'}{layer} {device.speed}"
            talk.say(f"{host.name}: {device.name}: {words.strip()}" + (f", GIDs {gids}" if gids else ""))
    for cable in found.cables:
        one, other = (found.hosts[end.host].name for end in cable.ends)
        talk.say(f"cable: {one} -- {other}: {dot.with_speed(cable)}")
    if chosen.backend:
        for problem in chosen.problems:
            talk.say(f"not {problem}")
        names = ", ".join(found.hosts[index].name for index in chosen.order)
        talk.say(f"backend: {chosen.backend}, cables between two hosts: {chosen.width}, rank order: {names}")
