"""The hostfile of a spec for `executor: ssh`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jobkit.cli.launching import Hosts, read_hostfile
from jobkit.plan import Plan

if TYPE_CHECKING:
    from jobkit.spec import JobSpec


def planned(spec: JobSpec, cwd: str, plan: Callable[[JobSpec], Plan]) -> Plan:
    """Return what a spec means on its hosts, with those of its hostfile where it names one.

    A hostfile has an entry for each rank: as many of them are there, and so many on each host, where the
    spec says nothing else; then its addresses count too.

    Args:
        spec: What the file asks for.
        cwd: Where relative paths start.
        plan: Plans a spec that lists its hosts.

    Raises:
        SpecError: The hostfile cannot be read, or the spec not be honoured.
    """
    if spec.ssh.hostfile is None or spec.ssh.hosts:
        return plan(spec)
    hosts = read_hostfile(str(Path(cwd, spec.ssh.hostfile)))
    names = tuple(dict.fromkeys(hosts.names))
    changes: dict[str, object] = {"ssh": spec.ssh.model_copy(update={"hosts": names})}
    if spec.ranks is None and spec.nodes is None and spec.ranks_per_node is None:
        changes |= {"ranks": len(hosts.names)}
    made = plan(spec.model_copy(update=changes))
    unused = [name for name, value in (("backend", hosts.backend), ("envs", hosts.envs)) if value]
    notes = [f"{spec.ssh.hostfile}: its {name} is not used, but the spec's" for name in unused]
    notes += [f"{spec.ssh.hostfile}: its RDMA devices are not used"] if hosts.rdma else []
    ssh = replace(made.ssh, addresses=_addresses(hosts, made))
    return replace(made, ssh=ssh, notes=(*made.notes, *notes))


def _addresses(hosts: Hosts, plan: Plan) -> tuple[tuple[str, ...], ...]:
    """Return the addresses by the plan's ranks, () where its ranks are others than the hostfile's."""
    if not hosts.addresses:
        return ()
    each = list(zip(hosts.names, hosts.addresses, strict=True))
    by_host = {host: [given for name, given in each if name == host] for host in plan.ssh.hosts}
    if any(len(found) != plan.ranks_per_node for found in by_host.values()):
        return ()
    return tuple(addresses for found in by_host.values() for addresses in found)
