"""The real libnccl on a real device. What is in new memory there serves as data, whatever that is."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import pytest

from jobkit.native import arrays, nccl
from jobkit.native.nccl import communicator, cuda, library, memory, prototypes

MISSING = nccl.missing(os.environ)
MULTI_RANK = (2, 30)  # the first version that lets ranks share a device
INT32 = arrays.DTYPES.index("int32")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        bool(MISSING), reason=f"no NCCL on a GPU: {MISSING.splitlines()[0] if MISSING else ''}"
    ),
]


def no_poll() -> None:
    pass


def test_every_function_with_one_rank() -> None:
    made = library.load(os.environ)
    device = cuda.Device(cuda.driver(os.environ), 0)
    alone = communicator.Communicator(made, device)
    alone.connect(communicator.unique_id(made), 0, 1, no_poll)
    x, y = (memory.DeviceArray((1000,), INT32, device) for _ in range(2))
    with device.current():
        stream = device.stream()
    ends = x.memory.pointer, y.memory.pointer, 1000, prototypes.DATA_TYPES["int32"]
    send, receive = (ends[0], *ends[2:], 0), (*ends[1:], 0)
    for calls in (
        [("ncclAllReduce", (*ends, prototypes.SUM))],
        [("ncclReduceScatter", (*ends, prototypes.MAX))],
        [("ncclAllGather", ends)],
        [("ncclBroadcast", (*ends, 0))],
        [("ncclSend", send), ("ncclRecv", receive)],
    ):
        event = alone.enqueue(calls, stream, no_poll)
        while not alone.is_complete(event):
            alone.check()
        alone.reuse(event)
        assert np.array_equal(memory.to_host(y, device, stream), memory.to_host(x, device, stream)), calls
    alone.close()


def test_two_ranks_on_one_device(run_nccl: Callable[..., list[str]]) -> None:
    found = library.version(library.load(os.environ))
    if found < MULTI_RANK:
        pytest.skip(f"NCCL {'.'.join(map(str, found))} lets no two ranks share a device; 2.30 does")
    source = f"""
        x = memory.DeviceArray((1000,), {INT32}, device)
        own = to_host(x)
        everybody = dist.all_gather(own[None])
        assert (to_host(dist.all_gather(x)).reshape(2, -1) == everybody).all()
        assert (to_host(dist.all_sum(x)) == everybody.sum(axis=0, dtype=np.int32)).all()
        other = 1 - world.rank()
        assert (to_host(dist.sendrecv(x, other, other)) == everybody[other]).all()
        print("two ranks on one device")
    """
    real = {
        "JOBKIT_NCCL_LIB": library.find(os.environ),
        "JOBKIT_CUDA_LIB": cuda.NAME,
        "CUDA_VISIBLE_DEVICES": "0",
        "NCCL_MULTI_RANK_GPU_ENABLE": "1",
        "NCCL_MAX_CTAS": "4",
        "NCCL_NVLS_ENABLE": "0",
        "NCCL_SOCKET_IFNAME": "lo",
    }
    told = run_nccl(2, source, **real)
    print(told[0])
    assert told == ["two ranks on one device\n"] * 2
