"""Choose the addresses at which the ranks of a job meet."""

from __future__ import annotations

from jobkit.env.addresses import LOOPBACK
from jobkit.errors import LaunchError, complaint

TYPE_CHECKING = False

if TYPE_CHECKING:
    from jobkit.env.gang import Table


def reachable(table: Table) -> tuple[tuple[str, ...], ...]:
    """Return the addresses of each rank, in rank order, the one to prefer first.

    Loopback where every rank has the same node identity: it needs no network, and no firewall sees it.

    Raises:
        LaunchError: A rank of a job of several hosts has no address that others reach.
    """
    reports = table.reports
    if len({report.node for report in reports}) == 1:
        return (LOOPBACK,) * len(reports)
    for report in reports:
        if not report.addresses:
            wrong = "no IPv4 address that other hosts reach"
            hint = "name the network that connects the hosts: network.subnet, or JOBKIT_SUBNET=10.0.0.0/8"
            raise LaunchError(complaint(f"network: rank {report.rank} on {report.host}", wrong, hint=hint))
    return tuple(report.addresses for report in reports)
