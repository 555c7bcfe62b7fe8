"""Launch on all hosts of a batch job: one agent per host, brought there by the scheduler's own starter."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from jobkit.agent.batch import BatchCrew
from jobkit.agent.request import Request
from jobkit.cli.batch import Allocation, check
from jobkit.cli.foreground import Foreground
from jobkit.env import names
from jobkit.env.home import home


def launch(
    asked: Request,
    job: Allocation,
    ranks: tuple[int, ...],
    environ: Mapping[str, str],
    *,
    label: bool,
    table: bool,
) -> int:
    """Run a request's ranks on every host of a batch job; return the status of the first to fail.

    Args:
        asked: For one host.
        job: The hosts.
        ranks: On each host.
        environ: Of the batch shell.
        label, table: As `Foreground` takes them.

    Raises:
        LaunchError: The starter is missing, or the run folder cannot be written.
    """
    check(job)
    name = f"{job.job}-{secrets.token_hex(3)}"
    run_dir = environ.get(names.RUN_DIR) or f"{home(environ)}/jobs/{name}"
    hosts = tuple(zip(job.hosts, ranks, strict=True))
    meeting = {names.COORDINATOR: job.hosts[0], names.SHARED_DIR: run_dir}
    whole = replace(
        asked,
        job=name,
        run_dir=run_dir,
        local_size=ranks[0],
        size=sum(ranks),
        nodes=len(hosts),
        overlay={**asked.overlay, **(meeting if len(hosts) > 1 else {})},
    )
    host_of = [name for name, n in hosts for _ in range(n)]
    try:
        return Foreground(whole, label=label, table=table, hosts=host_of).run(
            lambda: BatchCrew(whole, hosts, job.starters, job.environ)
        )
    finally:
        Path(run_dir, "token").unlink(missing_ok=True)
