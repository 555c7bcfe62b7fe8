"""What the actions of `jobkit hosts` share: where their hosts come from, and the limit of a search."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobkit.hosts.model import Host, Topology
    from jobkit.hosts.outputs import Outputs
    from jobkit.hosts.shell import Shell

SEARCH_S = 5.0


@dataclass(frozen=True)
class Found:
    """Hosts.

    Attributes:
        topology: They, and the cables between them.
        shells: One on each; () for recordings.
    """

    topology: Topology
    shells: tuple[Shell, ...] = ()

    def close(self) -> None:
        """Leave the hosts."""
        for shell in self.shells:
            shell.close()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare where the hosts come from."""
    add = parser.add_argument
    add("--hosts", metavar="H1,H2", help="names that ssh knows (this machine)")
    add("--hostfile", metavar="FILE", help="take the names from a hostfile")
    add("--ignore-unreachable", action="store_true", help="go on without the hosts that cannot be asked")
    add(
        "--over",
        choices=("thunderbolt", "ethernet", "rdma"),
        default="thunderbolt",
        help="which network: cables between Macs, addresses, or RDMA devices of Linux hosts (%(default)s)",
    )
    add("--from", dest="from_", metavar="DIR", help="what --record kept, in place of the hosts themselves")
    add("--record", metavar="DIR", help="keep what the hosts say in DIR/HOST, for --from")


def find(args: argparse.Namespace) -> Found | None:
    """Return the hosts and cables that the flags name; None where that cannot be, which is then said.

    Raises:
        SpecError: The flags or the recording cannot be used.
    """
    from jobkit.hosts import recording

    names = _names(args)
    if args.from_ is not None:
        return Found(_connect(recording.read(args.from_, names, args.over), args.over))
    return _over_ssh(args, names)


def _connect(hosts: tuple[Host, ...], over: str) -> Topology:
    from jobkit.hosts import cables, links, machine
    from jobkit.hosts.model import Topology

    if over == machine.ETHERNET:
        return Topology(hosts, ())
    return cables.connect(hosts) if over == machine.THUNDERBOLT else links.connect(hosts)


def _names(args: argparse.Namespace) -> tuple[str, ...]:
    """Return the names of the hosts; () for all that are recorded."""
    from jobkit.cli import launching
    from jobkit.errors import SpecError, complaint

    if args.from_ is not None and args.record is not None:
        raise SpecError(complaint("--record", "cannot be given together with --from"))
    if args.from_ is not None and args.hosts is None and args.hostfile is None:
        return ()
    # A host that is listed twice is to have two ranks: here it is one machine.
    again = argparse.Namespace(hosts=args.hosts, hostfile=args.hostfile, repeat_hosts=None)
    names = launching.hosts(again).names
    if args.hostfile is None and len(set(names)) < len(names):
        twice = next(name for number, name in enumerate(names) if name in names[:number])
        raise SpecError(complaint("--hosts", "named twice", got=twice, expected="every host once"))
    return tuple(dict.fromkeys(names))


def _over_ssh(args: argparse.Namespace, names: tuple[str, ...]) -> Found | None:
    from jobkit.cli import talk
    from jobkit.errors import JobkitError
    from jobkit.hosts import fan_out, recording

    if args.verbose:
        talk.say(f"asking {len(names)} host{'s' * (len(names) > 1)}: {', '.join(names)}")
    answers = fan_out.each(names, _ask)
    reached = [answer for answer in answers if not isinstance(answer, JobkitError)]
    shells = tuple(shell for shell, _ in reached)
    errors = [str(answer) for answer in answers if isinstance(answer, JobkitError)]
    if args.record is not None:
        recording.write(args.record, (outputs for _, outputs in reached))
    tell = talk.warn if args.ignore_unreachable else talk.error
    for error in errors:
        tell(error)
    hosts = None
    if shells and (args.ignore_unreachable or not errors):
        hosts = _described((outputs for _, outputs in reached), args.over)
    if hosts is None:
        for one in shells:
            one.close()
        return None
    return Found(_connect(hosts, args.over), shells)


def _ask(name: str) -> tuple[Shell, Outputs]:
    from jobkit.hosts import probe

    found = shell(name)
    try:
        return found, probe.ask(found)
    except BaseException:
        found.close()
        raise


def shell(name: str) -> Shell:
    """Return a shell on a host: on this machine without SSH.

    Raises:
        LostError, SubmitError: It cannot be had.
    """
    from jobkit.cli.launching import is_here
    from jobkit.hosts import shell

    return shell.start(name, is_here(name))


def _described(outputs: Iterable[Outputs], over: str) -> tuple[Host, ...] | None:
    """Return the hosts; None where one of them cannot be used, which is then said."""
    from jobkit.cli import talk
    from jobkit.errors import SpecError
    from jobkit.hosts import machine

    hosts: list[Host] = []
    errors = 0
    for output in outputs:
        try:
            hosts.append(machine.describe(output, over))
        except SpecError as error:
            talk.error(str(error))
            errors += 1
    return None if errors else tuple(hosts)


def limit() -> Callable[[], bool]:
    """Return what says whether a search that starts now may go on."""
    deadline = time.monotonic() + SEARCH_S
    return lambda: time.monotonic() < deadline


def write(text: str, path: str | None) -> None:
    """Write to a file, or to standard output.

    Raises:
        SpecError: The file cannot be written.
    """
    import sys
    from pathlib import Path

    from jobkit.errors import SpecError, complaint

    if path is None:
        sys.stdout.write(text)
        return
    try:
        Path(path).write_text(text)
    except OSError as error:
        raise SpecError(complaint(path, f"cannot be written ({error.strerror})")) from error
