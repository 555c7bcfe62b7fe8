"""Check that hosts can run ranks together, before a job does.

Looks on every host at the versions of Python, mlx and jobkit, the clock, the ports that mlx.launch would take
and the hostfile's RDMA devices, and measures from each to each other the round trip over TCP. The status is 1
where something would fail.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobkit.hosts.checking import Asked, Report

HELP = "check versions, clocks, ports, and who reaches whom"
_MOST_COLUMNS = 16
_PORT = 32323


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument
    add("--hosts", metavar="H1,H2", help="names that ssh knows (this machine)")
    add("--hostfile", metavar="FILE", help="take names, addresses, devices and backend from a hostfile")
    add("--ignore-unreachable", action="store_true", help="with --hosts: go on without those")
    add("--backend", metavar="B", help="what is to run there: tells who has to reach whom (the hostfile's)")
    add("--agent-python", metavar="P", help="interpreter on the hosts (this one's path, else python3)")
    add("--starting-port", "-p", type=int, default=_PORT, help="first port of mlx.launch (%(default)s)")
    add("--connections-per-ip", type=int, default=1, help="ports for each address (%(default)s)")
    add("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print what was found."""
    from jobkit import __version__
    from jobkit.cli import talk
    from jobkit.errors import Exit, SpecError, complaint
    from jobkit.hosts import checking, findings
    from jobkit.hosts.choice import BACKENDS
    from jobkit.remote.crew import pythons

    if args.backend not in (None, *BACKENDS):
        known = ", ".join(BACKENDS)
        raise SpecError(complaint("--backend", "unknown name", got=args.backend, expected=f"one of {known}"))
    asked, needed = _from_hostfile(args) if args.hostfile else _from_names(args)
    if not asked:
        return Exit.FINDING
    report = checking.check(asked, pythons(args.agent_python))
    found = findings.find(report, asked, needed, __version__)
    _print(args, report, found)
    for finding in found:
        talk.error(finding)
    return Exit.FINDING if found else Exit.OK


Question = tuple[tuple["Asked", ...], frozenset[tuple[int, int]]]


def _from_names(args: argparse.Namespace) -> Question:
    """Return what to ask of hosts by name: at addresses of Ethernet or Wi-Fi; nothing where that failed."""
    from jobkit.cli import hosts_source, talk
    from jobkit.cli.launching import is_here
    from jobkit.hosts import ethernet, findings
    from jobkit.hosts.checking import Asked
    from jobkit.hosts.machine import ETHERNET

    whole = argparse.Namespace(**vars(args), over=ETHERNET, from_=None, record=None, verbose=False)
    found = hosts_source.find(whole)
    if found is None:
        return (), frozenset()
    found.close()
    chosen = ethernet.choose(found.topology.hosts)
    for problem in chosen.problems:
        talk.error(problem)
    if chosen.problems:
        return (), frozenset()
    rows = [(host.name, own) for host, own in zip(found.topology.hosts, chosen.addresses, strict=True)]
    ports = _ports(args, [own for _, own in rows])
    asked = tuple(Asked(name, is_here(name), own, ports[place]) for place, (name, own) in enumerate(rows))
    return asked, findings.needed(args.backend or "", len(asked))


def _from_hostfile(args: argparse.Namespace) -> Question:
    """Return what to ask of the hosts of a hostfile: one that has several ranks is asked once."""
    from jobkit.cli.launching import hosts, is_here
    from jobkit.hosts import findings, hostfile
    from jobkit.hosts.checking import Asked
    from jobkit.hosts.choice import JACCL

    listed = hosts(argparse.Namespace(hosts=args.hosts, hostfile=args.hostfile, repeat_hosts=None))
    rows = hostfile.read(args.hostfile)
    # The list shape of a hostfile names no backend.
    implied = JACCL if rows[0].rdma else ""
    ports = _ports(args, [row.ips for row in rows])
    places = {name: place for place, name in enumerate(dict.fromkeys(row.ssh for row in rows))}
    asked = []
    for name in places:
        own = [rank for rank, row in enumerate(rows) if row.ssh == name]
        asked.append(
            Asked(
                name,
                is_here(name),
                tuple(dict.fromkeys(ip for rank in own for ip in rows[rank].ips)),
                tuple(port for rank in own for port in ports[rank]),
                tuple(dict.fromkeys(name for rank in own for name in hostfile.devices(rows[rank]))),
            )
        )
    pairs = {
        (places[rows[near].ssh], places[rows[far].ssh])
        for near, far in findings.needed(args.backend or listed.backend or implied, len(rows))
    }
    return tuple(asked), frozenset(pair for pair in pairs if pair[0] != pair[1])


def _ports(args: argparse.Namespace, ips: list[tuple[str, ...]]) -> list[tuple[int, ...]]:
    """Return the ports that mlx.launch would take for each rank, one after the other for all."""
    from jobkit.errors import SpecError, complaint

    counts = [len(own) * args.connections_per_ip for own in ips]
    first, last = args.starting_port, args.starting_port + sum(counts)
    if args.connections_per_ip < 1 or not 0 < first <= last <= 65536:
        raise SpecError(
            complaint("--starting-port", "not ports", got=f"{first} to {last - 1}", expected="1 to 65535")
        )
    return [
        tuple(range(first + sum(counts[:rank]), first + sum(counts[: rank + 1]))) for rank in range(len(ips))
    ]


def _print(args: argparse.Namespace, report: Report, findings: tuple[str, ...]) -> None:
    import dataclasses

    from jobkit.cli import tables

    names = [answer.name for answer in report.answers]
    if args.json:
        ways = {
            near: {far: cells for far, cells in zip(names, row, strict=True) if far != near}
            for near, row in zip(names, report.ways, strict=True)
        }
        hosts = [dataclasses.asdict(answer) for answer in report.answers]
        tables.print_json({"hosts": hosts, "round_trip_us": ways, "findings": list(findings)})
        return
    rows = [
        (answer.name, answer.python or "?", answer.jobkit or "-", answer.mlx or "-", _clock(answer.skew_s))
        if not answer.error
        else (answer.name, "?", "?", "?", "?")
        for answer in report.answers
    ]
    tables.print_table(("HOST", "PYTHON", "JOBKIT", "MLX", "CLOCK"), rows)
    if 1 < len(names) <= _MOST_COLUMNS:
        print()
        cells = [[_cell(cells) for cells in row] for row in report.ways]
        tables.print_table(
            ("FROM \\ TO", *names), [(name, *row) for name, row in zip(names, cells, strict=True)]
        )


def _clock(skew_s: float) -> str:
    return f"{skew_s * 1e3:+.0f} ms" if abs(skew_s) < 10 else f"{skew_s:+.0f} s"


def _cell(cells: dict[str, float | str]) -> str:
    """Return the slowest round trip over several addresses.

    >>> _cell({"10.0.0.1": 120.0, "10.1.0.1": 1500.0}), _cell({"10.0.0.1": "Connection refused"}), _cell({})
    ('1.50 ms', 'no', '')
    """
    if any(isinstance(cell, str) for cell in cells.values()):
        return "no"
    slowest = max((cell for cell in cells.values() if isinstance(cell, float)), default=None)
    if slowest is None:
        return ""
    return f"{slowest / 1e3:.2f} ms" if slowest >= 1e3 else f"{slowest:.0f} us"
