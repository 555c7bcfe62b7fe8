"""Where the ranks of a job are to run: written down at submission, read by the job's keeper."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from jobkit.plan import Plan
from jobkit.remote import session, tree

FILE = "hosts.json"
# What is known once the hosts were reached.
PYTHON, RUN_DIR, PACKAGE, NAME = "<python>", "<run folder>", "<jobkit>", "<name>"


@dataclass(frozen=True)
class Place:
    """One host of a job.

    Attributes:
        host: [USER@]HOST[:PORT], or a Host of the user's ssh_config.
        ranks: The ranks there.
        python: The interpreter there.
        package: The folder there that jobkit was brought to; None where the interpreter has its own.
        run_dir: The job's folder there.
        workdir: Where ranks start.
        name: What the host calls itself.
        address: At which it was reached; "" where that is not known.
    """

    host: str
    ranks: tuple[int, ...]
    python: str
    package: str | None
    run_dir: str
    workdir: str
    name: str = NAME
    address: str = ""


def expected(plan: Plan) -> tuple[Place, ...]:
    """Return the places of a plan, with placeholders for what only the hosts know."""
    inside = in_tree(plan)
    workdir = (
        plan.ssh.workdir or plan.workdir if inside is None else os.path.normpath(f"{RUN_DIR}/tree/{inside}")
    )
    each = plan.ranks_per_node
    return tuple(
        Place(
            host,
            tuple(range(node * each, (node + 1) * each)),
            plan.ssh.python or PYTHON,
            PACKAGE if plan.ssh.sync else None,
            RUN_DIR,
            workdir,
        )
        for node, host in enumerate(plan.ssh.hosts)
    )


def in_tree(plan: Plan) -> str | None:
    """Return where ranks start in the working tree; None where it is not sent."""
    if not plan.ssh.sync or plan.ssh.workdir is not None:
        return None
    return os.path.relpath(plan.workdir, tree.root(plan.workdir))


def command(place: Place) -> str:
    """Return the command that a login shell there gets."""
    return session.command(session.PYTHON if place.python == PYTHON else place.python)


def dumps(places: Sequence[Place]) -> str:
    """Return the text of the file."""
    rows = ",\n ".join(json.dumps(asdict(place)) for place in places)
    return f"[\n {rows}\n]\n"


def read(run_dir: Path) -> tuple[Place, ...]:
    """Return the places of a job."""
    return loads((run_dir / FILE).read_text())


def loads(text: str) -> tuple[Place, ...]:
    """Return the places that a text holds."""
    rows = json.loads(text)
    return tuple(Place(**{**row, "ranks": tuple(row["ranks"])}) for row in rows)
