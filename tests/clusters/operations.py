"""All operations of a group, checked on each of N ranks that run this."""

import numpy as np

import jobkit.native as dist

group = dist.init(strict=True, backend="jaccl")
rank, size = group.rank(), group.size()


def of(r, count, dtype=np.float32):
    """Return what rank r contributes."""
    return ((np.arange(count) * 7 + r * 3 + 1) % 61).astype(dtype)


def same(got, expected):
    assert np.array_equal(got, expected), (got, expected)


for count in (0, 1, 7, 1000, 3 * 4096 + 5, 60_000):
    for dtype in (np.float32, np.int8, np.float16) if count < 10_000 else (np.float32,):
        all_of = [of(r, count, dtype) for r in range(size)]
        mine = all_of[rank]
        same(dist.all_sum(mine), sum(all_of[1:], start=all_of[0]))
        same(dist.all_max(mine), np.maximum.reduce(all_of))
        same(dist.all_min(mine), np.minimum.reduce(all_of))
        same(dist.all_gather(mine), np.concatenate(all_of))
        same(dist.broadcast(mine, size - 1), all_of[-1])
        gathered = dist.gather(mine, 0)
        assert (gathered is None) == (rank != 0)
        if rank == 0:
            same(gathered, np.concatenate(all_of))
    blocks = [of(r, count * size) for r in range(size)]
    part = slice(rank * count, (rank + 1) * count)
    same(dist.sum_scatter(blocks[rank]), sum(blocks[1:], start=blocks[0])[part])
    same(dist.all_to_all(blocks[rank]), np.concatenate([block[part] for block in blocks]))
    same(dist.scatter(blocks[0] if rank == 0 else None, 0), blocks[0][part])
    after, before = (rank + 1) % size, (rank - 1) % size
    same(dist.sendrecv(of(rank, count), after, before), of(before, count))
    if rank % 2 == 0 and rank + 1 < size:
        dist.send(of(rank, count), rank + 1)
        same(dist.recv_like(of(0, count), rank + 1), of(rank + 1, count))
    elif rank % 2:
        same(dist.recv((count,), np.float32, rank - 1), of(rank - 1, count))
        dist.send(of(rank, count), rank - 1)
dist.barrier()

halves = group.split(rank % 2)
same(dist.all_sum(np.array([rank]), group=halves), [sum(range(rank % 2, size, 2))])
handles = [dist.all_sum(of(rank, count), wait=False) for count in (1, 5000)]
for handle, count in zip(reversed(handles), (5000, 1), strict=True):
    same(handle.wait(), sum(of(r, count) for r in range(size)))
print("ok", group.topology())
