"""Every operation on device arrays, over the stand-in for NCCL."""

from __future__ import annotations

from collections.abc import Callable

import pytest

TABLE = """
    import functools

    NAMES = [name for name in arrays.DTYPES]
    TYPES = [np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name) for name in NAMES]
    NUMPY = {"sum": np.add, "max": np.maximum, "min": np.minimum}
    n, rank = world.size(), world.rank()
    right, left = (rank + 1) % n, (rank - 1) % n

    def values(dtype, rank, count):
        raw = (np.arange(count) * (rank + 3) + rank) % 31
        if dtype == np.bool_:
            return raw % 5 == 0
        return (raw if dtype.kind == "u" else raw - 15).astype(dtype)

    def reduced(op, dtype, count):
        return functools.reduce(NUMPY[op], [values(dtype, r, count) for r in range(n)])

    def block(whole, index, count):
        return whole[index * count : (index + 1) * count]

    def is_reduced(op, dtype):
        name = dtype.name
        return name not in ("int16", "uint16") and (name != "complex64" or op == "sum")

    def results(dtype, count):
        root = count % n
        one, many = values(dtype, rank, count), values(dtype, rank, n * count)
        for op in NUMPY:
            call = getattr(dist, f"all_{op}")
            if not is_reduced(op, dtype):
                for refused in (lambda: call(to_device(one)), lambda: dist.sum_scatter(to_device(many), op)):
                    try:
                        refused()
                    except TypeError as error:
                        assert f"NCCL cannot reduce this type, got '{dtype.name}'" in str(error), error
                    else:
                        raise AssertionError("not refused")
                continue
            yield f"all_{op}", call(to_device(one)), reduced(op, dtype, count)
            mine = to_device(one)
            yield f"all_{op} in place", call(mine, out=mine), reduced(op, dtype, count)
            expected = block(reduced(op, dtype, n * count), rank, count)
            yield f"sum_scatter {op}", dist.sum_scatter(to_device(many), op), expected
        everyone = np.concatenate([values(dtype, r, count) for r in range(n)])
        exchanged = np.concatenate([block(values(dtype, r, n * count), rank, count) for r in range(n)])
        yield "all_gather", dist.all_gather(to_device(one)), everyone
        yield "all_to_all", dist.all_to_all(to_device(many)), exchanged
        mine = to_device(many)
        yield "all_to_all in place", dist.all_to_all(mine, out=mine), exchanged
        yield "broadcast", dist.broadcast(to_device(one), root), values(dtype, root, count)
        mine = to_device(one)
        yield "broadcast in place", dist.broadcast(mine, root, out=mine), values(dtype, root, count)
        yield "gather", dist.gather(to_device(one), root), everyone if rank == root else None
        given = to_device(many if rank == root else one[:0])
        yield "scatter", dist.scatter(given, root), block(values(dtype, root, n * count), rank, count)
        received = dist.sendrecv(to_device(one), dst=right, src=left)
        yield "sendrecv", received, values(dtype, left, count)
        like = to_device(one)
        if rank % 2 == 0:
            dist.send(to_device(one), (rank + 1) % n) if rank + 1 < n else None
            got = dist.recv((count,), dtype, rank - 1, like=like) if rank > 0 else None
        else:
            got = dist.recv_like(like, rank - 1)
            dist.send(to_device(one), (rank + 1) % n) if rank + 1 < n else None
        yield "recv", got, values(dtype, rank - 1, count) if rank > 0 else None

    n_right = 0
    for dtype in TYPES:
        for size in (0, 1, n + 1, 1000):
            for name, found, expected in results(dtype, size):
                where = f"{name}({dtype}, {size} elements) on rank {rank} of {n}"
                if expected is None:
                    assert found is None, where
                else:
                    host = to_host(found)
                    assert host.dtype == dtype, where
                    assert np.array_equal(host, expected), where
                n_right += 1
    print(n_right)
"""
MOVED, REDUCED = 9, 3  # operations of each kind for every type


@pytest.mark.parametrize("n", [2, 3, 8])
def test_the_whole_table_agrees_with_numpy(run_nccl: Callable[..., list[str]], n: int) -> None:
    reduced_types = 14 * 3 - 2 * 3 - 2
    assert run_nccl(n, TABLE) == [f"{4 * (14 * MOVED + reduced_types * REDUCED)}\n"] * n
