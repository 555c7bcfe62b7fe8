"""Ranks that meet through a store of PyTorch's."""

from __future__ import annotations

import threading

import numpy as np
import torch.distributed as distributed

import jobkit.native as dist
from jobkit.native.torch import meeting


def test_ranks_that_share_a_store_form_an_authenticated_group_and_may_do_so_again() -> None:
    store, results = distributed.HashStore(), [[]] * 3
    environ = {"MASTER_ADDR": "127.0.0.1", "JOBKIT_CONNECT_TIMEOUT_S": "30"}

    def rank_main(rank: int) -> None:
        found = []
        for _ in range(2):
            group = meeting.meet(store, rank, 3, "test", environ)
            total = dist.all_sum(np.array([rank]), group=group)
            found.append((group.rank(), group.size(), group.is_authenticated, total.tolist()))
            group.close()
        results[rank] = found

    threads = [threading.Thread(target=rank_main, args=(rank,)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == [[(rank, 3, True, [3])] * 2 for rank in range(3)]
