"""How ranks meet through the store of `torch.distributed`, where no launcher of jobkit's prepared it."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Mapping
from typing import Any

from jobkit.native import ring
from jobkit.native.group import Group

MASTER_ADDR = "MASTER_ADDR"
TOKEN_BYTES = 32
# A packet to it would take the default route; none is sent. Source: RFC 5737.
ELSEWHERE = "192.0.2.1"
LOOPBACK = "127.0.0.1"


def meet(store: Any, rank: int, size: int, name: str, environ: Mapping[str, str]) -> Group:
    """Return the group of all ranks that share `store`. Collective: each of them.

    Each rank leaves its addresses in the store, the first one a token too: whoever can read the store is
    taken for a rank of the job.

    Raises:
        BackendError: The ranks did not meet in time.
    """
    with socket.socket() as reserved:
        # The port is this rank's until the engine listens on it.
        reserved.bind(("", 0))
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        port = reserved.getsockname()[1]
        own = [f"{address}:{port}" for address in addresses(environ.get(MASTER_ADDR, ""))]
        # The same store may serve a program that leaves and comes back.
        turn = store.add(f"jobkit/{rank}", 1)
        store.set(f"jobkit/{turn}/{rank}", json.dumps(own))
        if rank == 0:
            store.set(f"jobkit/{turn}/token", secrets.token_hex(TOKEN_BYTES))
        hosts = [json.loads(store.get(f"jobkit/{turn}/{each}")) for each in range(size)]
        token = bytes.fromhex(store.get(f"jobkit/{turn}/token").decode())
        where = ring.Meeting(rank=rank, hosts=hosts, mode="gang", job=f"torch/{name}", token=token)
        return ring.connect(where, environ, epoch=turn)


def addresses(master: str) -> list[str]:
    """Return the addresses at which the others may reach this rank, the likeliest first.

    These are the one that this host uses towards `master`, where the store is, and the one it uses towards
    the rest of the world.
    """
    found = [_towards(host) for host in (master, ELSEWHERE) if host]
    return list(dict.fromkeys(address for address in found if address)) or [LOOPBACK]


def _towards(host: str) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))
        except OSError:  # no such name, or no route
            return None
        return str(probe.getsockname()[0])
