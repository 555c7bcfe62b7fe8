"""What the actions of `jobkit hosts` share: where their hosts come from, and the limit of a search."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobkit.hosts.model import Topology

SEARCH_S = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare where the hosts come from."""
    add = parser.add_argument
    add(
        "--from",
        dest="from_",
        metavar="DIR",
        help="recorded outputs: DIR/HOST/system_profiler.json and networksetup.txt, if there are any also "
        "ibv_devices.txt, ipconfig_getifaddr_en0.txt, ifconfig.txt, netstat.txt",
    )
    add("--hosts", metavar="H1,H2", help="these of the recorded hosts, in this order (all, by name)")
    add("--hostfile", metavar="FILE", help="take their names from a hostfile")


def topology(args: argparse.Namespace) -> Topology:
    """Return the hosts and cables that the flags name.

    Raises:
        SpecError: There is no recording, or it cannot be used.
    """
    from jobkit.errors import SpecError, complaint
    from jobkit.hosts import cables, recording

    if args.from_ is None:
        wrong = "discovery over SSH is not available in this version"
        hint = "record the outputs on every host, then name the folder that has them: --from DIR"
        raise SpecError(complaint("hosts", wrong, got=args.hosts or args.hostfile, hint=hint))
    return cables.connect(recording.read(args.from_, _names(args)))


def _names(args: argparse.Namespace) -> tuple[str, ...]:
    from jobkit.errors import SpecError, complaint

    if args.hosts is not None and args.hostfile is not None:
        raise SpecError(complaint("--hostfile", "cannot be given together with --hosts"))
    if args.hostfile is not None:
        from jobkit.cli.launching import read_hostfile

        return read_hostfile(args.hostfile).names
    names = tuple(args.hosts.split(",")) if args.hosts is not None else ()
    if not all(names):
        raise SpecError(complaint("--hosts", "an empty name", got=args.hosts, expected="HOST,HOST,…"))
    return names


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
