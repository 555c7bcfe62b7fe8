"""MLX's ring: TCP between neighbours, met through a file of addresses."""

from __future__ import annotations

from jobkit.env.gang import Table
from jobkit.env.json_ import dumps

HOSTFILE = "MLX_HOSTFILE"


def variables(hostfile: str) -> dict[str, str]:
    """Return the ring's variables, given the path of its file."""
    return {HOSTFILE: hostfile}


def hostfile(table: Table, addresses: tuple[tuple[str, ...], ...]) -> str:
    """Return the file's text: a row per rank, an "ip:port" per connection.

    MLX splits at the first colon, so that addresses are IPv4 literals, and refuses rows of different lengths,
    so that every rank has as many addresses as the rank with the fewest.

    Args:
        table: Everybody's reports. One row of ports serves all addresses of its rank.
        addresses: Of each rank.
    """
    paths = min(map(len, addresses))
    return dumps(
        [_row(report.ring, own[:paths]) for report, own in zip(table.reports, addresses, strict=True)]
    )


def _row(ports: tuple[tuple[int, ...], ...], addresses: tuple[str, ...]) -> list[str]:
    rows = ports * len(addresses) if len(ports) == 1 else ports
    return [f"{ip}:{port}" for ip, row in zip(addresses, rows, strict=False) for port in row]
