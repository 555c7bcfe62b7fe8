"""The gang's table as the bundled backends read it."""

from __future__ import annotations

from jobkit.env import names
from jobkit.env.gang import Table
from jobkit.env.json_ import dumps

SCHEMA = 1


def variables(gang_file: str, token_file: str, victim_file: str) -> dict[str, str]:
    """Return the bundled backends' variables."""
    return {names.GANG_FILE: gang_file, names.TOKEN_FILE: token_file, names.VICTIM_FILE: victim_file}


def gang_file(table: Table, addresses: tuple[tuple[str, ...], ...], job: str, attempt: int) -> str:
    """Return the text of the file of meeting points: a rank's host, node identity, addresses, port."""
    ranks = [
        {"rank": r.rank, "host": r.host, "node": r.node, "addresses": list(own), "port": r.layer}
        for r, own in zip(table.reports, addresses, strict=True)
    ]
    return dumps({"schema": SCHEMA, "job": job, "attempt": attempt, "size": len(ranks), "ranks": ranks})
