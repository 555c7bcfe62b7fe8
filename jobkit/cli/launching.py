"""From the flags of `jobkit launch` to what its agent is asked."""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobkit.agent.request import Request
from jobkit.env import names, rdma
from jobkit.env.addresses import is_global
from jobkit.env.backends import parse
from jobkit.env.scrub import scrub
from jobkit.errors import LaunchError, SpecError, complaint
from jobkit.remote.there.launch import needs_python

_LOCAL = ("127.0.0.1", "localhost", "::1")
_LAST_PORT = 65535
_HOSTFILE_LETTERS = 1 << 24  # more is something else: /dev/zero
# No word that a shell, or ssh, could read as something else.
_HOST = re.compile(r"[\w@:%.\[\]][\w@:%.\[\]-]*")
_MOST_RANKS = 1_000_000  # as in a spec
# What the shim sets; a value from outside would be lost.
_OURS = frozenset((*names.CONTRACT, *names.OWN)) - {names.COORDINATOR}
_VERBOSE = {"MLX_RING_VERBOSE": "1", "NCCL_DEBUG": "INFO"}


@dataclass(frozen=True)
class Hosts:
    """Where the ranks go.

    Attributes:
        names: One per rank.
        backend: What the hostfile says, "" if nothing.
        envs: NAME=VALUE of the hostfile.
        addresses: The IPv4 addresses that the hostfile gives each, by rank; () where some have none.
        rdma: Text of a hostfile with JACCL's matrix, "" without.
    """

    names: tuple[str, ...]
    backend: str = ""
    envs: tuple[str, ...] = ()
    addresses: tuple[tuple[str, ...], ...] = ()
    rdma: str = ""

    @property
    def are_here(self) -> bool:
        """Whether all of them are this machine."""
        return all(map(is_here, self.names))


def is_here(host: str) -> bool:
    """Say whether a host is this machine."""
    return host in (*_LOCAL, os.uname().nodename)


def request(
    args: argparse.Namespace,
    hosts: Hosts,
    environ: Mapping[str, str],
    cwd: str,
    terminal: bool,
    total: int | None = None,
) -> Request:
    """Return the request that the flags mean, for this machine.

    Args:
        args: The flags.
        hosts: What `hosts` returns.
        environ: The environment to start from.
        cwd: The folder of whoever launches.
        terminal: Whether the output appears on a terminal.
        total: Ranks of the job; None where they are those of this host.

    Raises:
        SpecError: A flag, or the hostfile, cannot be used.
    """
    size = len(hosts.names)
    workdir = Path(cwd, args.cwd or "")
    given = variables(hosts.envs, f"{args.hostfile}: envs") | variables(args.env, "--env")
    return Request(
        job=f"launch-{secrets.token_hex(6)}",
        name="launch",
        attempt=1,
        run_dir=None,
        output="pipe",
        first_rank=0,
        local_size=size,
        size=size,
        node=0,
        nodes=1,
        command=_command(args, workdir),
        backend=_backend(args, hosts),
        connections_per_ip=_at_least_one(args.connections_per_ip, "--connections-per-ip"),
        python=args.agent_python or sys.executable,
        workdir=str(workdir),
        environ=scrub(environ),
        setup=(),
        overlay=given | (_VERBOSE if args.verbose else {}),
        stdin=_stdin(args.stdin or "all", size if total is None else total),
        ports=_ports(args.starting_port),
        subnet=None,
        terminal=_terminal() if terminal else None,
        nccl_port=args.nccl_port,
        jaccl_rows=hosts.rdma or None,
    )


def _backend(args: argparse.Namespace, hosts: Hosts) -> tuple[str, ...]:
    if args.backend is not None:
        return parse(args.backend)
    return parse(hosts.backend or "any", f"{args.hostfile}: backend")


def _terminal() -> tuple[int, int]:
    size = shutil.get_terminal_size()
    return size.columns, size.lines


def hosts(args: argparse.Namespace) -> Hosts:
    """Return where the ranks go.

    Raises:
        SpecError: A flag, or the hostfile, cannot be used.
    """
    if args.hosts is not None and args.hostfile is not None:
        raise SpecError(complaint("--hostfile", "cannot be given together with --hosts"))
    if args.hostfile is not None:
        return read_hostfile(args.hostfile)
    times = 1 if args.repeat_hosts is None else _at_least_one(args.repeat_hosts, "-n")
    if times > _MOST_RANKS:
        raise SpecError(complaint("-n", "too many", got=times, expected=f"at most {_MOST_RANKS}"))
    listed = (args.hosts if args.hosts is not None else _LOCAL[0]).split(",")
    if not all(listed):
        raise SpecError(complaint("--hosts", "an empty name", got=args.hosts, expected="HOST,HOST,…"))
    for host in listed:
        _check_name(host, "--hosts")
    return Hosts(tuple(host for host in listed for _ in range(times)))


def read_hostfile(path: str) -> Hosts:
    """Return the hosts of an mlx.launch hostfile: a list, or a mapping of backend, envs and hosts.

    Raises:
        SpecError: It cannot be read, or has another shape.
    """
    try:
        with Path(path).open() as file:
            content = json.loads(file.read(_HOSTFILE_LETTERS))
    except OSError as error:
        raise SpecError(complaint(path, f"cannot be read ({error.strerror})")) from error
    except (ValueError, RecursionError) as error:
        raise SpecError(
            complaint(path, f"not JSON ({error})", expected='[{"ssh": "host", "ips": ["10.0.0.1"]}, …]')
        ) from error
    rows = content.get("hosts") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not rows:
        raise SpecError(complaint(path, "not a hostfile", got=rows, expected="a list of hosts"))
    names = tuple(_ssh_name(path, number, row) for number, row in enumerate(rows))
    addresses = tuple(_addresses(path, number, row) for number, row in enumerate(rows))
    found = Hosts(names, addresses=addresses if all(addresses) else (), rdma=_rdma(path, rows))
    if not isinstance(content, dict):
        return found
    envs = content.get("envs", [])
    if not isinstance(envs, list):
        raise SpecError(complaint(f"{path}: envs", "not a list", got=envs, expected='["NAME=VALUE", …]'))
    return replace(found, backend=str(content.get("backend") or ""), envs=tuple(map(str, envs)))


def _addresses(path: str, number: int, row: Any) -> tuple[str, ...]:
    """Return the addresses of a row that mean the same host everywhere."""
    ips = row.get("ips", [])
    if not isinstance(ips, list) or not all(isinstance(ip, str) and is_ipv4(ip) for ip in ips):
        where = f"{path}: host {number}: ips"
        raise SpecError(complaint(where, "no list of IPv4 addresses", got=ips, expected='["10.0.0.1"]'))
    return tuple(ip for ip in ips if is_global(ip))


def is_ipv4(text: str) -> bool:
    """Say whether a text is an IPv4 address in its usual form.

    >>> [is_ipv4(text) for text in ("10.0.0.1", "10.1", "::1", "node1", "")]
    [True, False, False, False, False]
    """
    try:
        socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):
        return False
    return True


def _rdma(path: str, rows: list[Any]) -> str:
    """Return the rows as text where they hold a matrix of devices.

    Raises:
        SpecError: It is none.
    """
    if not any(row.get("rdma") for row in rows):
        return ""
    try:
        rdma.read(path)
    except LaunchError as error:
        raise SpecError(str(error)) from error
    return json.dumps(rows)


def _ssh_name(path: str, number: int, row: object) -> str:
    name = row.get("ssh") if isinstance(row, dict) else None
    if not isinstance(name, str) or not name:
        raise SpecError(
            complaint(f"{path}: host {number}", "no host name", got=row, expected='{"ssh": "host", …}')
        )
    _check_name(name, f"{path}: host {number}")
    return name


def _check_name(host: str, where: str) -> None:
    """Refuse what is no [USER@]HOST[:PORT]: it may come to stand in a ProxyCommand."""
    if not _HOST.fullmatch(host):
        raise SpecError(complaint(where, "not a host's name", got=host, expected="[USER@]HOST[:PORT]"))
    port = host.partition(":")[2]
    if host.count(":") == 1 and not (port.isdecimal() and 0 < int(port) <= _LAST_PORT):  # two: IPv6
        raise SpecError(complaint(where, "not a port", got=host, expected=f"HOST:1 to HOST:{_LAST_PORT}"))


def variables(settings: Sequence[str], where: str) -> dict[str, str]:
    """Return NAME=VALUE settings as a mapping; NAME alone means an empty value, as in mlx.launch.

    Args:
        settings: The settings.
        where: The flag, or the place in a file, that holds them.

    Raises:
        SpecError: A name that no shell would take, or that jobkit sets in every rank.
    """
    found = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        if not name.replace("_", "a").isalnum() or not name.isascii() or name[0].isdigit():
            raise SpecError(complaint(where, "not a variable's name", got=setting, expected="NAME=VALUE"))
        if name in _OURS:
            wrong = "jobkit sets it in every rank"
            raise SpecError(complaint(where, wrong, got=name, expected="another variable"))
        found[name] = value
    return found


def _command(args: argparse.Namespace, workdir: Path) -> tuple[str, ...]:
    command = words(args)
    if not args.python and needs_python(command, str(workdir)):
        return (args.agent_python or sys.executable, *command)
    return command


def words(args: argparse.Namespace) -> tuple[str, ...]:
    """Return the program and its arguments, as given.

    Raises:
        SpecError: There is none.
    """
    given = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not given:
        raise SpecError(
            complaint("jobkit launch", "no command to run", hint="jobkit launch -n 2 -- python train.py")
        )
    return (args.python, *given) if args.python else tuple(given)


def _at_least_one(number: int, flag: str) -> int:
    if number < 1:
        raise SpecError(complaint(flag, "not a count", got=number, expected="an integer >= 1"))
    return number


def _stdin(text: str, size: int) -> str:
    if text in ("all", "none") or (text.isdigit() and int(text) < size):
        return text
    raise SpecError(
        complaint("--stdin", "nobody", got=text, expected=f"all, none or a rank less than {size}")
    )


def _ports(first: int | None) -> tuple[int, int] | None:
    if first is None:
        return None
    if not 0 < first < 65536:
        raise SpecError(complaint("--starting-port", "not a port", got=first, expected="1 to 65535"))
    return first, 65535
