"""Ranks that meet through a store of PyTorch's."""

from __future__ import annotations

import socket
import threading
from typing import Any

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


def test_the_address_towards_the_store_comes_first() -> None:
    assert meeting.addresses("127.0.0.1")[0] == "127.0.0.1"
    assert meeting.addresses("localhost")[0] == "127.0.0.1"


def test_a_host_without_a_way_out_has_its_loopback(monkeypatch: Any) -> None:
    class Nowhere(socket.socket):
        def connect(self, _: Any) -> None:
            raise OSError("no route to host")

    monkeypatch.setattr(socket, "socket", Nowhere)
    assert meeting.addresses("") == ["127.0.0.1"]
    assert meeting.addresses("no.such.name.invalid") == ["127.0.0.1"]
