"""The backend "jobkit" of `torch.distributed`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as distributed
from torch.distributed import ReduceOp

from jobkit.errors import BackendError
from jobkit.native.torch.process_group import ProcessGroup

Ranks = Callable[[int, Callable[[Any], Any]], list[Any]]


def options(kind: str, **values: Any) -> Any:
    made = getattr(distributed.distributed_c10d, f"{kind}Options")()
    made.asyncOp = False
    for name, value in values.items():
        setattr(made, name, value)
    return made


@pytest.fixture
def groups(run_ranks: Any) -> Ranks:
    """A function: run `program(process group)` on n ranks, return the results in rank order."""

    def run(n: int, program: Callable[[ProcessGroup], Any], **more: Any) -> list[Any]:
        def rank_main(group: Any) -> Any:
            made = ProcessGroup(group.rank(), n, group, timedelta(seconds=60), "test")
            try:
                return program(made)
            finally:
                made.shutdown()

        return list(run_ranks(n, rank_main, **more))

    return run


REDUCED = {
    ReduceOp.SUM: [6.0, 9.0],
    ReduceOp.AVG: [2.0, 3.0],
    ReduceOp.MAX: [3.0, 4.0],
    ReduceOp.MIN: [1.0, 2.0],
    ReduceOp.PRODUCT: [6.0, 24.0],
}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("op", REDUCED, ids=lambda op: op.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex128], ids=str)
def test_reductions_give_every_rank_the_result(
    groups: Ranks, op: Any, dtype: torch.dtype, is_async: bool
) -> None:
    if dtype.is_complex and op in (ReduceOp.MAX, ReduceOp.MIN, ReduceOp.PRODUCT):
        dtype = torch.float64

    def program(group: ProcessGroup) -> Any:
        x = torch.tensor([1.0, 2.0], dtype=dtype) + group.rank()
        turned = torch.stack([x, x]).T
        chosen = options("Allreduce", reduceOp=op, asyncOp=is_async)
        group.allreduce([x], chosen).wait()
        group.allreduce([turned], chosen).wait()
        part = torch.empty(1, dtype=dtype)
        whole = torch.arange(1, 4).to(dtype) + group.rank()
        group.reduce_scatter_single(
            part, whole, options("ReduceScatter", reduceOp=op, asyncOp=is_async)
        ).wait()
        lists = torch.empty(1, dtype=dtype)
        group.reduce_scatter([lists], [list(whole.split(1))], options("ReduceScatter", reduceOp=op)).wait()
        assert torch.equal(lists, part)
        assert torch.equal(turned, torch.stack([x, x]).T)
        return x.real.tolist(), part.real.item()

    found = groups(3, program)
    assert [whole for whole, _ in found] == [REDUCED[op]] * 3
    assert [part for _, part in found][:2] == REDUCED[op]


@pytest.mark.parametrize(
    ("op", "expected"),
    [(ReduceOp.BAND, 0b0000), (ReduceOp.BOR, 0b0111), (ReduceOp.BXOR, 0b0110 ^ 0b0011 ^ 0b0101 ^ 0b0110)],
    ids=lambda value: str(value),
)
def test_bits_are_reduced(groups: Ranks, op: Any, expected: int) -> None:
    values = [0b0110, 0b0001, 0b0101] if op != ReduceOp.BXOR else [0b0011, 0b0101, 0b0000]
    if op == ReduceOp.BXOR:
        expected = 0b0110

    def program(group: ProcessGroup) -> Any:
        x = torch.tensor([values[group.rank()]])
        group.allreduce([x], options("Allreduce", reduceOp=op)).wait()
        return x.item()

    assert groups(3, program) == [expected] * 3


def test_a_sum_may_be_scaled_beforehand(groups: Ranks) -> None:
    def program(group: ProcessGroup) -> Any:
        x = torch.tensor([1.0]) + group.rank()
        op = distributed._make_nccl_premul_sum(0.5)
        group.allreduce([x], options("Allreduce", reduceOp=op)).wait()
        return x.item()

    assert groups(2, program) == [1.5] * 2


def test_only_the_root_of_a_reduce_gets_the_result(groups: Ranks) -> None:
    def program(group: ProcessGroup) -> Any:
        x = torch.tensor([1.0]) + group.rank()
        group.reduce([x], options("Reduce", rootRank=1)).wait()
        return x.item()

    assert groups(3, program) == [1, 6, 3]


def test_a_type_that_is_not_served_can_be_moved_but_not_reduced(groups: Ranks) -> None:
    def program(group: ProcessGroup) -> Any:
        x = torch.full((3,), group.rank() + 1.0).to(torch.float8_e4m3fn)
        group.broadcast([x], options("Broadcast", rootRank=1)).wait()
        work = group.allreduce([x])
        with pytest.raises(TypeError, match="float8_e4m3fn"):
            work.wait()
        assert isinstance(work.exception(), TypeError)
        assert not work.is_success()
        return x.float().tolist()

    assert groups(2, program) == [[2, 2, 2]] * 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.complex128], ids=str)
def test_moves_put_every_tensor_where_it_belongs(groups: Ranks, dtype: torch.dtype) -> None:
    def program(group: ProcessGroup) -> None:
        n, r = group.size(), group.rank()

        def of(rank: int) -> torch.Tensor:
            return ((torch.arange(6).reshape(2, 3) + rank) % 4).to(dtype)

        x = of(r).T.contiguous().T  # not contiguous
        group.broadcast([x], options("Broadcast", rootRank=2)).wait()
        assert torch.equal(x, of(2))
        every = [torch.empty(2, 3, dtype=dtype) for _ in range(n)]
        group.allgather([every], [of(r)], options("Allgather")).wait()
        assert all(torch.equal(each, of(p)) for p, each in enumerate(every))
        whole = torch.empty(2 * n, 3, dtype=dtype)
        group.all_gather_single(whole, of(r), options("Allgather")).wait()
        assert torch.equal(whole, torch.cat([of(p) for p in range(n)]))
        whole[2 * r : 2 * r + 2] = of(r + 1)
        group.all_gather_single(whole, whole[2 * r : 2 * r + 2], options("Allgather")).wait()
        assert torch.equal(whole, torch.cat([of(p + 1) for p in range(n)]))
        group.gather([every] if r == 1 else [], [of(r + 1)], options("Gather", rootRank=1)).wait()
        assert all(torch.equal(each, of(p + (r == 1))) for p, each in enumerate(every))
        part = torch.empty(2, 3, dtype=dtype)
        parts = [[of(p + 5) for p in range(n)]] if r == 0 else []
        group.scatter([part], parts, options("Scatter", rootRank=0)).wait()
        assert torch.equal(part, of(r + 5))

    groups(3, program)


def test_parts_of_unequal_size_are_gathered_everywhere(groups: Ranks) -> None:
    def program(group: ProcessGroup) -> None:
        n, r = group.size(), group.rank()
        parts = [torch.empty(p, 2) for p in range(n)]
        group.allgather([parts], [torch.full((r, 2), float(r))], options("Allgather")).wait()
        assert all((each == p).all() for p, each in enumerate(parts))
        work = group.allgather([parts], [torch.zeros(n)], options("Allgather"))
        with pytest.raises(
            ValueError, match=rf"part {r} of the output: wrong size, got {2 * r}, expected {n}"
        ):
            work.wait()

    groups(3, program)


@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (lambda: torch.ones(2).to_sparse(), "x.to_dense()"),
        (lambda: torch.ones(2, device="meta"), "on the CPU"),
        (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "x.unbind()"),
    ],
    ids=["sparse", "meta", "nested"],
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_what_is_not_served_is_refused_with_the_remedy(
    groups: Ranks, make: Callable[[], torch.Tensor], remedy: str
) -> None:
    def program(group: ProcessGroup) -> None:
        x, y = make(), torch.ones(2)
        for work in (
            group.allreduce([x]),
            group.broadcast([x], options("Broadcast", rootRank=0)),
            group.allgather([[y, x]], [y], options("Allgather")),
            group.scatter([y], [[x, x]], options("Scatter", rootRank=group.rank())),
        ):
            with pytest.raises(TypeError, match=re.escape(remedy)):
                work.wait()

    groups(2, program)


def test_every_rank_gets_its_rows_from_every_other(groups: Ranks) -> None:
    def program(group: ProcessGroup) -> None:
        n, r = group.size(), group.rank()
        out = torch.empty(n, 2)
        group.all_to_all_single(out, torch.full((n, 2), float(r)), [], [], options("AllToAll")).wait()
        assert out[:, 0].tolist() == list(range(n))
        # Rank r sends p + 1 rows to rank p.
        sizes, total = [p + 1 for p in range(n)], n * (n + 1) // 2
        out = torch.empty(n * (r + 1), 2)
        group.all_to_all_single(
            out, torch.full((total, 2), float(r)), [r + 1] * n, sizes, options("AllToAll")
        ).wait()
        assert out[:, 1].tolist() == [float(p) for p in range(n) for _ in range(r + 1)]
        outs = [torch.empty(r + 1, p) for p in range(n)]
        group.alltoall(outs, [torch.full((p + 1, r), float(r)) for p in range(n)], options("AllToAll")).wait()
        assert all((each == p).all() for p, each in enumerate(outs))

    groups(3, program)


def test_messages_wait_for_no_other_message(groups: Ranks) -> None:
    """All ask before they send, and send more than a socket holds, in another order than they ask."""

    def program(group: ProcessGroup) -> Any:
        n, r = group.size(), group.rank()
        left, right = (r - 1) % n, (r + 1) % n
        incoming = [torch.empty(500_000), torch.empty(1)]
        receives = [group.recv([incoming[0]], left, 7), group.recv([incoming[1]], left, 3)]
        if r == 1:
            time.sleep(0.2)
        sends = [
            group.send([torch.full((500_000,), float(r))], right, 7),
            group.send([torch.full((1,), -float(r))], right, 3),
        ]
        for work in reversed(receives + sends):
            work.wait()
        group.barrier(options("Barrier")).wait()
        return incoming[0][-1].item(), incoming[1].item()

    assert groups(3, program) == [(2, -2), (0, 0), (1, -1)]


def test_a_message_from_just_any_rank_is_refused(groups: Ranks) -> None:
    def program(group: ProcessGroup) -> None:
        with pytest.raises(NotImplementedError, match="expected src"):
            group.recv_anysource([torch.empty(1)], 0)

    groups(2, program)


def test_some_ranks_make_a_group_of_their_own(groups: Ranks) -> None:
    def program(group: ProcessGroup) -> Any:
        if group.rank() == 1:
            return None
        part = group.among([0, 2], "outer")
        made = ProcessGroup(part.rank(), part.size(), part, timedelta(seconds=60), "outer")
        x = torch.tensor([group.rank() + 1.0])
        made.allreduce([x]).wait()
        made.shutdown()
        return x.item()

    assert groups(3, program) == [4, None, 4]


def test_operations_end_in_the_order_of_issue_whoever_waits(groups: Ranks) -> None:
    def program(group: ProcessGroup) -> Any:
        x = torch.ones(1)
        works = [group.allreduce([x], options("Allreduce", asyncOp=turn % 3 > 0)) for turn in range(6)]
        works[-1].wait()
        assert all(work.is_success() for work in works)
        return x.item()

    assert groups(2, program) == [64] * 2


def test_a_failure_is_raised_in_whoever_waits(groups: Any) -> None:
    def program(group: ProcessGroup) -> Any:
        if group.rank() == 1:
            group.abort()
            return None
        work = group.allreduce([torch.ones(1)], options("Allreduce", asyncOp=True))
        with pytest.raises(BackendError, match="aborted") as caught:
            work.wait()
        with pytest.raises(Exception, match="aborted"):
            work.get_future().wait()
        return caught.value.culprit

    assert groups(2, program, check=False)[0] == 1


def test_an_operation_has_the_time_that_it_or_its_group_was_given(groups: Any) -> None:
    def program(group: ProcessGroup) -> None:
        if group.rank() == 1:
            time.sleep(1.5)
            return
        group.set_timeout(timedelta(seconds=0.3))
        with pytest.raises(BackendError, match=r"waited 0\.3 s"):
            group.allreduce([torch.ones(1)], options("Allreduce")).wait()

    groups(2, program, check=False)


# --- whole programs ---

TRAIN = """
import sys, torch, torch.nn as nn, torch.distributed as dist
import jobkit.native.torch
from torch.distributed.device_mesh import init_device_mesh

how = sys.argv[1]
torch.set_num_threads(1)
if how != "alone":
    dist.init_process_group("jobkit")
rank, size = (0, 1) if how == "alone" else (dist.get_rank(), dist.get_world_size())
torch.manual_seed(0)
inner = nn.Sequential(nn.Linear(32, 32), nn.ReLU())
model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), inner, nn.Linear(32, 1))
x = torch.randn(64, 16)
y = x.sum(1, keepdim=True)
if how == "ddp":
    model = nn.parallel.DistributedDataParallel(model, bucket_cap_mb=0.001)
elif how == "fsdp1":
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.fsdp.wrap import ModuleWrapPolicy
    model = FullyShardedDataParallel(
        model, auto_wrap_policy=ModuleWrapPolicy({nn.Sequential}), device_id=torch.device("cpu")
    )
elif how in ("fsdp2", "hybrid"):
    from torch.distributed.fsdp import fully_shard
    shape = (2, size // 2) if how == "hybrid" else (size,)
    mesh = init_device_mesh("cpu", shape, mesh_dim_names=("replicate", "shard")[-len(shape):])
    fully_shard(model[2], mesh=mesh)
    fully_shard(model, mesh=mesh)
optimizer = torch.optim.Adam(model.parameters(), 1e-2)
for step in range(10):
    optimizer.zero_grad()
    loss = ((model(x[rank::size]) - y[rank::size]) ** 2).mean()
    loss.backward()
    optimizer.step()
loss = loss.detach()
if how != "alone":
    dist.all_reduce(loss, dist.ReduceOp.AVG)
    kept = [None] * size
    dist.all_gather_object(kept, loss.item())
    assert len(set(kept)) == 1
    dist.destroy_process_group()
if rank == 0:
    print("loss", loss.item())
"""


def run(folder: Path, launcher: list[str], text: str, *words: str) -> str:
    file = folder / "program.py"
    file.write_text(textwrap.dedent(text))
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [*launcher, str(file), *words]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def jobkit(n: int) -> list[str]:
    return [sys.executable, "-m", "jobkit", "launch", "-n", str(n), "--", sys.executable]


def torchrun(n: int) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> float:
    """The loss of a training on one rank."""
    said = run(tmp_path_factory.mktemp("alone"), [sys.executable], TRAIN, "alone")
    return float(said.split()[1])


@pytest.mark.parametrize(
    ("how", "n", "launcher"),
    [
        ("ddp", 2, jobkit),
        ("fsdp2", 2, torchrun),
        pytest.param("fsdp1", 2, jobkit, marks=pytest.mark.slow),
        pytest.param("fsdp2", 4, jobkit, marks=pytest.mark.slow),
        pytest.param("hybrid", 4, jobkit, marks=pytest.mark.slow),
        pytest.param("ddp", 4, torchrun, marks=pytest.mark.slow),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_training_on_several_ranks_is_training_on_one(
    tmp_path: Path, alone: float, how: str, n: int, launcher: Callable[[int], list[str]]
) -> None:
    said = re.search(r"loss (\S+)", run(tmp_path, launcher(n), TRAIN, how))
    assert said
    assert float(said[1]) == pytest.approx(alone, rel=1e-5)


USES = """
    import torch, torch.distributed as dist, torch.distributed._functional_collectives as functional
    from jobkit import native
    import jobkit.native.torch

    # A process may leave, and come back: with a store that outlives the group, as torchrun's does.
    place = {}
    if NATIVE:
        place = {"rank": native.init().rank(), "world_size": native.init().size()}
        place["store"] = dist.FileStore(__file__ + ".store", place["world_size"])
    for _ in range(2):
        dist.init_process_group("jobkit", **place)
        r, n = dist.get_rank(), dist.get_world_size()
        gathered = [None] * n
        dist.all_gather_object(gathered, {"rank": r})
        assert gathered == [{"rank": p} for p in range(n)]
        objects = [r]
        dist.broadcast_object_list(objects, 1)
        assert objects == [1]
        pairs = dist.new_subgroups(2)[0] if n % 2 == 0 else dist.new_group([0, 1])
        if pairs is not dist.GroupMember.NON_GROUP_MEMBER:
            x = torch.ones(1)
            dist.all_reduce(x, group=pairs)
            assert x == 2
            y = functional.all_reduce(torch.ones(2), "sum", pairs) + 0
            assert y.tolist() == [2, 2]
        right, left, got = (r + 1) % n, (r - 1) % n, torch.empty(100_000)
        operations = [dist.P2POp(dist.irecv, got, left),
                      dist.P2POp(dist.isend, torch.full((100_000,), float(r)), right)]
        for work in dist.batch_isend_irecv(operations):
            work.wait()
        assert (got == left).all()
        dist.barrier()
        with dist._coalescing_manager() as manager:
            for _ in range(3):
                dist.all_reduce(x := torch.ones(2))
        assert x.tolist() == [n, n]
        if NATIVE:  # both layers in one process, each in its own order
            work = dist.all_reduce(x, async_op=True)
            assert native.all_sum(1) == n
            work.wait()
        dist.destroy_process_group()
    print("well")
"""


@pytest.mark.parametrize(
    ("launcher", "n"),
    [(jobkit, 2), pytest.param(torchrun, 4, marks=pytest.mark.slow)],
    ids=["jobkit", "torchrun"],
)
def test_what_users_call_works_and_a_group_may_be_made_anew(
    tmp_path: Path, launcher: Callable[[int], list[str]], n: int
) -> None:
    text = f"NATIVE = {launcher is jobkit}\n" + textwrap.dedent(USES)
    assert run(tmp_path, launcher(n), text).count("well") == n


def test_after_a_failure_a_group_may_be_made_anew(tmp_path: Path) -> None:
    text = """
        import datetime, torch, torch.distributed as dist
        import jobkit.native.torch

        dist.init_process_group("jobkit", timeout=datetime.timedelta(seconds=60))
        r = dist.get_rank()
        try:
            dist.all_reduce(torch.ones(2 + r))
            raise SystemExit("the sizes differ")
        except RuntimeError as error:
            assert "calls differ" in str(error), error
        dist.destroy_process_group()
        dist.init_process_group("jobkit")
        x = torch.ones(2)
        dist.all_reduce(x)
        print("sum", x.tolist())
        dist.destroy_process_group()
    """
    assert run(tmp_path, jobkit(2), text).count("sum [2.0, 2.0]") == 2


def test_a_backward_pass_names_the_rank_that_died(tmp_path: Path) -> None:
    text = """
        import os, sys, torch, torch.distributed as dist
        import jobkit.native.torch

        dist.init_process_group("jobkit")
        model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1))
        model(torch.ones(2, 4)).sum().backward()
        if dist.get_rank() == 1:
            os._exit(0)
        try:
            for _ in range(100):
                model(torch.ones(2, 4)).sum().backward()
        except RuntimeError as error:
            print("raised", error)
            os._exit(0)
    """
    assert "rank 1" in run(tmp_path, jobkit(2), text)
