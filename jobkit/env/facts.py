"""Read what detection may know beside the environment: its only part that looks at the machine."""

from __future__ import annotations

import os
from collections.abc import Mapping

from jobkit.env.json_ import loads
from jobkit.env.placement import Facts
from jobkit.errors import LaunchError, complaint

_HOSTFILE = "MLX_HOSTFILE"


def facts(environ: Mapping[str, str]) -> Facts:
    """Return the facts of this process.

    Raises:
        LaunchError: MLX_HOSTFILE names a file that is not a list of lists of addresses.
    """
    path = environ.get(_HOSTFILE) if "JOBKIT_RANK" not in environ else None
    return Facts(os.uname().nodename, _hostfile_hosts(path) if path else None)


def _hostfile_hosts(path: str) -> tuple[str, ...]:
    try:
        with open(path, encoding="utf-8") as file:
            ranks = loads(file.read())
        return tuple(_host(addresses) for addresses in ranks)
    except (OSError, ValueError, LookupError, TypeError) as error:
        where = f"{_HOSTFILE}={path}"
        raise LaunchError(
            complaint(where, f"not a hostfile ({error})", expected='[["ip:port", …], …]')
        ) from error


def _host(addresses: object) -> str:
    """Return the host of a rank's first address: `["10.0.0.1:5000", …]`."""
    if not (isinstance(addresses, list) and addresses and isinstance(addresses[0], str)):
        raise TypeError(f"{addresses!r} is no list of addresses")
    return addresses[0].rpartition(":")[0]
