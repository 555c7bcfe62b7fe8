"""MLX's ring: TCP between neighbours, met through a file of addresses."""

from __future__ import annotations

from jobkit.env.gang import Table
from jobkit.env.json_ import dumps

HOSTFILE = "MLX_HOSTFILE"


def variables(hostfile: str) -> dict[str, str]:
    """Return the ring's variables, given the path of its file."""
    return {HOSTFILE: hostfile}


def hostfile(table: Table) -> str:
    """Return the file's text: a row per rank, an "ip:port" per connection.

    MLX splits at the first colon, so that addresses are IPv4 literals.
    """
    rows = [
        [f"{ip}:{port}" for ip, ports in zip(r.addresses, r.ring, strict=True) for port in ports]
        for r in table.reports
    ]
    return dumps(rows)
