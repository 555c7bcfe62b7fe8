"""Start several ranks where a launcher has started one process per node, as SkyPilot and dstack do."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping

from jobkit.agent.request import Request
from jobkit.env import names
from jobkit.env.__main__ import arguments, count
from jobkit.env.backends import parse
from jobkit.env.detect import Detection, detect
from jobkit.env.facts import facts
from jobkit.env.home import HOME
from jobkit.env.settings import settings
from jobkit.env.shim import identify, outside
from jobkit.env.tcp.rendezvous import job_name
from jobkit.errors import JobkitError, LaunchError, complaint

# Of jobkit's own variables these are settings of the user's, which the ranks are to find.
_SETTINGS = {*names.HANDED_DOWN} - {names.AGENT_FD}


def main(argv: list[str], environ: dict[str, str]) -> int:
    """Run a number of ranks on this node and return the exit status that `launch` would have.

    Args:
        argv: As `jobkit exec` takes them.
        environ: What the launcher left.
    """
    from jobkit.agent.client import Agent
    from jobkit.cli import folder, talk
    from jobkit.cli.foreground import Foreground

    try:
        given, command = arguments(argv)
        workdir = os.path.join(folder.current(), given.get("--chdir", ""))  # noqa: PTH118
        found = detect(environ, facts(environ))
        ranks, backend = count(given["--ranks-per-node"]), parse(given.get("--backend") or "any")
        asked = request(environ, found, backend, ranks, command, workdir)
        return Foreground(asked, label=False, table=False).run(lambda: Agent.start(asked))
    except JobkitError as error:
        talk.error(str(error))
        return error.exit_status


def request(
    environ: Mapping[str, str],
    found: Detection,
    backend: tuple[str, ...],
    ranks: int,
    command: tuple[str, ...],
    folder: str,
) -> Request:
    """Return what this node's agent is asked: its part of all ranks.

    The ranks of several nodes meet over TCP, as those of a launcher that starts each of them do.

    Raises:
        LaunchError: This is no node of a job, or the launcher has started several ranks on it.
    """
    node, nodes = _node(found)
    identity, chosen = identify(environ, found), settings(environ)
    run_dir = _writable(identity.run_dir, identity.attempt)
    return Request(
        job=identity.job,
        name="exec",
        attempt=identity.attempt,
        run_dir=run_dir,
        output="pipe",
        first_rank=node * ranks,
        local_size=ranks,
        size=nodes * ranks,
        node=node,
        nodes=nodes,
        command=command,
        backend=backend,
        connections_per_ip=chosen.connections_per_ip,
        python=sys.executable,
        workdir=folder,
        environ=_inherited(environ, closed=() if run_dir else (HOME,)),
        setup=(),
        overlay=_meeting(environ, found) if nodes > 1 else {},
        stdin="all",
        ports=chosen.ports,
        subnet=environ.get(names.SUBNET) or None,
        terminal=_terminal(),
        nccl_port=chosen.nccl_port,
        spec_hash=chosen.spec_hash,
    )


def _node(found: Detection) -> tuple[int, int]:
    placement = found.placement
    if placement is None:
        raise LaunchError(complaint("jobkit exec", found.reason))
    if placement.local_size != 1 or placement.node is None or placement.nodes is None:
        raise LaunchError(
            complaint(
                "--ranks-per-node",
                f"{found.launcher} does not start one process per node",
                got=f"{placement.local_size or 'an unknown number of'} ranks on this node",
                expected="1",
                hint="leave --ranks-per-node out: the launcher starts the ranks",
            )
        )
    return placement.node, placement.nodes


def _writable(run_dir: str, attempt: int) -> str | None:
    """Return a run folder if the attempt's folder can be made in it, None for a private one otherwise."""
    if not run_dir:
        return None
    try:
        os.makedirs(f"{run_dir}/attempt-{attempt}", mode=0o700, exist_ok=True)  # noqa: PTH103
    except OSError as error:
        sys.stderr.write(f"jobkit: {run_dir}: no records of the ranks are kept ({error.strerror})\n")
        return None
    return run_dir


def _inherited(environ: Mapping[str, str], closed: tuple[str, ...]) -> dict[str, str]:
    """Return what the ranks inherit; a home that is closed would stand in the way of a temporary folder."""
    gone = {*names.OWN, *closed} - _SETTINGS
    return {name: value for name, value in environ.items() if name not in gone}


def _meeting(environ: Mapping[str, str], found: Detection) -> dict[str, str]:
    """Return how ranks of several nodes find each other: what a launcher's own ranks would have found."""
    assert found.found is not None
    given = outside(environ, found)
    if not job_name(given, found.found):
        hint = f"set {names.JOB} to a name that no other job has, the same on all nodes"
        wrong = "the launcher gives its job no name that the nodes could meet under"
        raise LaunchError(complaint("--ranks-per-node", wrong, hint=hint))
    coordinator = given.get(names.COORDINATOR) or found.found.first_host or ""
    return {names.COORDINATOR: coordinator, names.SHARED_DIR: given.get(names.RUN_DIR, "")}


def _terminal() -> tuple[int, int] | None:
    if not os.isatty(1):
        return None
    size = shutil.get_terminal_size()
    return size.columns, size.lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], dict(os.environ)))
