"""How ranks meet through the store of `torch.distributed`, where no launcher of jobkit's prepared it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from jobkit.native import ring
from jobkit.native.addresses import addresses, reserved_port
from jobkit.native.group import Group

MASTER_ADDR = "MASTER_ADDR"
TOKEN_BYTES = 32


def meet(store: Any, rank: int, size: int, name: str, environ: Mapping[str, str]) -> Group:
    """Return the group of all ranks that share `store`. Collective: each of them.

    Each rank leaves its addresses in the store, the first one a token too: whoever can read the store is
    taken for a rank of the job.

    Raises:
        BackendError: The ranks did not meet in time.
    """
    with reserved_port() as port:
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
