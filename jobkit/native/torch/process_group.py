"""The backend "jobkit" of `torch.distributed`: groups of ranks, and what they do with tensors on the CPU.

The methods are called by PyTorch, from Python and from C++, and have its names and signatures; where several
names mean one thing, the older one is what this version calls from C++.
"""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.distributed as distributed

from jobkit import native
from jobkit.errors import complaint
from jobkit.native import arrays, backends, collectives, ring
from jobkit.native.arrays import Array
from jobkit.native.group import Group, connected
from jobkit.native.torch import flat, reductions
from jobkit.native.torch.lane import Lane
from jobkit.native.torch.meeting import meet
from jobkit.native.torch.work import Work

SHORT_BYTES = 65536  # a message that the system takes at once, whether or not the receiver is there yet
CLOSE_TIMEOUT_S = 5.0

Tensor: TypeAlias = torch.Tensor
Tensors: TypeAlias = Sequence[torch.Tensor]
_alive: weakref.WeakSet[ProcessGroup] = weakref.WeakSet()


def create(options: Any, environ: Mapping[str, str]) -> ProcessGroup:
    """Return the group that PyTorch asks for. Collective: every rank of it."""
    rank, size = options.group_rank, options.group_size
    group = _group(options, environ)
    return ProcessGroup(rank, size, group, options.timeout, options.group_id)


def _group(options: Any, environ: Mapping[str, str]) -> Group:
    """Return a group of the engine that nobody else uses."""
    rank, size = options.group_rank, options.group_size
    if size == 1:
        return Group(None, backend="ring")
    if options.global_ranks_in_group and distributed.is_initialized():
        whole = distributed.distributed_c10d._get_default_group()
        if isinstance(whole, ProcessGroup):
            return whole.among(list(options.global_ranks_in_group), options.group_id)
    if _is_placed(rank, size, environ):
        if backends.current is not None and backends.current.failure() is not None:
            native.shutdown()  # every rank knows that it has failed, and comes here for a new one
        part = native.init(backend="ring").split(0)
        assert part is not None
        return part
    return meet(options.store, rank, size, options.group_id, environ)


def _is_placed(rank: int, size: int, environ: Mapping[str, str]) -> bool:
    """Return whether this rank is the one that jobkit or MLX's launcher placed, and no child of its."""
    if not ring.is_configured(environ):
        return False
    where = ring.meeting(environ)
    return (where.rank, len(where.hosts)) == (rank, size)


class ProcessGroup(distributed.ProcessGroup):
    """Ranks that communicate.

    Collectives run in the order of issue, messages in that of each pair of ranks and direction, so that a
    message that is waited for holds up no other. What is not asynchronous runs in the calling thread.
    """

    def __init__(self, rank: int, size: int, group: Group, timeout: timedelta, name: str) -> None:
        super().__init__(rank, size)
        self._native = group
        self._timeout = timeout
        self._name = name
        self._lane = Lane(f"jobkit {name}")
        self._pairs: dict[tuple[int, int], tuple[Lane, Any]] = {}  # by sender and receiver
        self._description = ""
        _alive.add(self)

    # --- what PyTorch asks of every group ---

    def getBackendName(self) -> str:
        """Return the name it was registered under."""
        return "jobkit"

    def getGroupName(self) -> str:
        """Return the name PyTorch gave it."""
        return self._name

    def setGroupName(self, name: str) -> None:
        """Take another name."""
        self._name = name

    def getGroupDesc(self) -> str:
        """Return the user's description."""
        return self._description

    def setGroupDesc(self, description: str) -> None:
        """Take the user's description."""
        self._description = description

    group_name = property(getGroupName)
    group_desc = property(getGroupDesc)
    _set_group_name = setGroupName
    _set_group_desc = setGroupDesc

    @property
    def _device_types(self) -> list[torch.device]:
        return [torch.device("cpu")]

    def set_timeout(self, timeout: timedelta) -> None:
        """Give later operations so much time."""
        self._timeout = timeout

    def abort(self) -> None:
        """Fail what runs and what comes, on every rank."""
        self._native.abort("torch.distributed: the process group was aborted")

    def shutdown(self) -> None:
        """Leave, once what was issued has ended."""
        lanes = [self._lane, *(lane for lane, _ in self._pairs.values())]
        for lane in lanes:
            lane.close(CLOSE_TIMEOUT_S)
        for group in (*(group for _, group in self._pairs.values()), self._native):
            group.close()

    def among(self, ranks: list[int], name: str) -> Group:
        """Return a group of some of its ranks; only they call this, with a name that was not used before."""
        if len(ranks) == 1:
            return Group(None, backend=self._native.backend)
        assert self._native.core is not None
        core = self._native.core.among(ranks, name)
        return Group(core, backend=self._native.backend, is_authenticated=self._native.is_authenticated)

    # --- reductions ---

    def allreduce(self, tensors: Tensors, opts: Any = None) -> Work:
        """Replace every tensor by its reduction over all ranks."""
        opts = opts or distributed.AllreduceOptions()

        def run() -> None:
            for x in tensors:
                reductions.all_reduce(x, opts.reduceOp, self._native, self._seconds(opts))

        return self._issue("allreduce", run, tensors, opts)

    allreduce_coalesced = allreduce

    def reduce(self, tensors: Tensors, opts: Any) -> Work:
        """Replace the tensors of the root by their reduction over all ranks."""
        is_root = self.rank() == opts.rootRank

        def run() -> None:
            for x in tensors:
                result = x if is_root else x.detach().clone()
                reductions.all_reduce(result, opts.reduceOp, self._native, self._seconds(opts))

        return self._issue("reduce", run, tensors, opts)

    def reduce_scatter_single(self, output: Tensor, input: Tensor, opts: Any = None) -> Work:  # noqa: A002
        """Put this rank's part of the reduction of `input` into `output`."""
        return self.reduce_scatter_single_coalesced([output], [input], opts)

    def reduce_scatter_single_coalesced(self, outputs: Tensors, inputs: Tensors, opts: Any = None) -> Work:
        """Do the same with several tensors."""
        opts = opts or distributed.ReduceScatterOptions()

        def run() -> None:
            for x, out in zip(inputs, outputs, strict=True):
                reductions.reduce_scatter(x, out, opts.reduceOp, self._native, self._seconds(opts))

        return self._issue("reduce_scatter", run, outputs, opts)

    def reduce_scatter(self, outputs: Tensors, inputs: Sequence[Tensors], opts: Any = None) -> Work:
        """Put this rank's part of the reduction of a list of parts into each output."""
        opts = opts or distributed.ReduceScatterOptions()

        def run() -> None:
            for parts, out in zip(inputs, outputs, strict=True):
                whole = torch.cat([x.detach().reshape(-1) for x in parts])
                reductions.reduce_scatter(whole, out, opts.reduceOp, self._native, self._seconds(opts))

        return self._issue("reduce_scatter", run, outputs, opts)

    # --- moves ---

    def broadcast(self, tensors: Tensors, opts: Any) -> Work:
        """Replace every tensor by the root's."""

        def run() -> None:
            for x in tensors:
                with flat.written(x) as data:
                    collectives.broadcast(
                        data, opts.rootRank, group=self._native, timeout=self._seconds(opts), out=data
                    )

        return self._issue("broadcast", run, tensors, opts)

    def all_gather_single(self, output: Tensor, input: Tensor, opts: Any = None) -> Work:  # noqa: A002
        """Put the tensors of all ranks into `output`, one after the other."""
        return self.all_gather_single_coalesced([output], [input], opts)

    def all_gather_single_coalesced(self, outputs: Tensors, inputs: Tensors, opts: Any = None) -> Work:
        """Do the same with several tensors."""
        opts = opts or distributed.AllgatherOptions()

        def run() -> None:
            for x, out in zip(inputs, outputs, strict=True):
                with flat.written(out) as whole:
                    collectives.all_gather(
                        flat.read(x), group=self._native, timeout=self._seconds(opts), out=whole
                    )

        return self._issue("all_gather", run, outputs, opts)

    def allgather(self, outputs: Sequence[Tensors], inputs: Tensors, opts: Any = None) -> Work:
        """Put the tensor of each rank into the output of its number."""
        opts = opts or distributed.AllgatherOptions()

        def run() -> None:
            for x, parts in zip(inputs, outputs, strict=True):
                with flat.all_written(parts) as whole:
                    self._gather_all(flat.read(x), whole, [part.numel() for part in parts], opts)

        return self._issue("all_gather", run, outputs[0], opts)

    def allgather_coalesced(self, outputs: Sequence[Tensors], inputs: Tensors, opts: Any = None) -> Work:
        """Put the tensors of each rank into the list of its number."""
        return self.allgather([list(parts) for parts in zip(*outputs, strict=True)], inputs, opts)

    def gather(self, outputs: Sequence[Tensors], inputs: Tensors, opts: Any) -> Work:
        """Put the tensor of each rank into the root's output of its number."""
        root = opts.rootRank
        options: dict[str, Any] = {"group": self._native, "timeout": self._seconds(opts)}

        def run() -> None:
            if self.rank() != root:
                collectives.gather(flat.read(inputs[0]), root, **options)
                return
            with flat.all_written(outputs[0]) as whole:
                collectives.gather(flat.read(inputs[0]), root, out=whole, **options)

        return self._issue("gather", run, outputs[0] if outputs else [], opts)

    def scatter(self, outputs: Tensors, inputs: Sequence[Tensors], opts: Any) -> Work:
        """Put the root's input of this rank's number into the output."""
        root = opts.rootRank
        options: dict[str, Any] = {"group": self._native, "timeout": self._seconds(opts)}

        def run() -> None:
            parts = flat.read_all(inputs[0]) if self.rank() == root else None
            with flat.written(outputs[0]) as part:
                collectives.scatter(parts, root, out=part, **options)

        return self._issue("scatter", run, outputs, opts)

    def all_to_all_single(
        self,
        output: Tensor,
        input: Tensor,  # noqa: A002
        output_sizes: Sequence[int],
        input_sizes: Sequence[int],
        opts: Any = None,
    ) -> Work:
        """Send each rank its rows of `input`, put what comes from each into its rows of `output`."""
        opts = opts or distributed.AllToAllOptions()

        def run() -> None:
            data = flat.read(input)
            with flat.written(output) as whole:
                if output_sizes or input_sizes:
                    parts = flat.split(data, input_sizes or [1] * self.size())
                    places = flat.split(whole, output_sizes or [1] * self.size())
                    self._exchange(parts, places, opts)
                else:
                    collectives.all_to_all(data, group=self._native, timeout=self._seconds(opts), out=whole)

        return self._issue("all_to_all", run, [output], opts)

    def alltoall(self, outputs: Tensors, inputs: Tensors, opts: Any = None) -> Work:
        """Send each rank its tensor of `inputs`, put what comes from each into its tensor of `outputs`."""
        opts = opts or distributed.AllToAllOptions()

        def run() -> None:
            with flat.all_written(outputs) as whole:
                places = flat.split(whole, [x.numel() for x in outputs])
                self._exchange([flat.read(x) for x in inputs], places, opts)

        return self._issue("all_to_all", run, outputs, opts)

    def barrier(self, opts: Any = None) -> Work:
        """Wait for all ranks."""
        opts = opts or distributed.BarrierOptions()
        return self._issue(
            "barrier", lambda: collectives.barrier(group=self._native, timeout=self._seconds(opts)), [], opts
        )

    _allgather_base = all_gather_single
    _reduce_scatter_base = reduce_scatter_single
    allgather_into_tensor_coalesced = all_gather_single_coalesced
    reduce_scatter_tensor_coalesced = reduce_scatter_single_coalesced
    alltoall_base = all_to_all_single

    # --- messages ---

    def send(self, tensors: Tensors, dst: int, tag: int = 0) -> Work:
        """Send a tensor to a rank of the group."""
        [x] = tensors
        lane, pair = self._pair(self.rank(), dst)

        def run() -> None:
            data = flat.read(x)
            pair.send(data, data.size, arrays.code_of(data.dtype), 1, tag, self._timeout.total_seconds())

        work = Work("send", run, list(tensors))
        lane.run(work.run, here=x.nbytes <= SHORT_BYTES)
        return work

    def recv(self, tensors: Tensors, src: int, tag: int = 0) -> Work:
        """Receive a tensor from a rank of the group."""
        [x] = tensors
        lane, pair = self._pair(src, self.rank())

        def run() -> None:
            with flat.written(x) as data:
                seconds = self._timeout.total_seconds()
                pair.recv(data, data.size, arrays.code_of(data.dtype), 0, tag, seconds)

        work = Work("recv", run, list(tensors))
        lane.run(work.run, here=False)
        return work

    def recv_anysource(self, _tensors: Tensors, _tag: int = 0) -> Work:
        """Raise: a receiver names its sender."""
        wrong = "a message from just any rank cannot be received"
        raise NotImplementedError(complaint("recv", wrong, expected="src, the rank that sends"))

    # --- how ---

    def _pair(self, sender: int, receiver: int) -> tuple[Lane, Any]:
        if (sender, receiver) not in self._pairs:
            name = f"{self._name}: {sender} to {receiver}"
            self._pairs[sender, receiver] = (
                Lane(f"jobkit {name}"),
                connected(self.among([sender, receiver], name)),
            )
        return self._pairs[sender, receiver]

    def _gather_all(self, own: Array, whole: Array, sizes: Sequence[int], opts: Any) -> None:
        """Put what every rank has into its part of `whole`; parts of unequal size go pair by pair."""
        if len(set(sizes)) == 1:
            collectives.all_gather(own, group=self._native, timeout=self._seconds(opts), out=whole)
            return
        places = flat.split(whole, sizes)
        if own.shape != places[self.rank()].shape:
            where = f"all_gather: part {self.rank()} of the output"
            expected = f"{own.size} elements as this rank's input has"
            raise ValueError(complaint(where, "wrong size", got=sizes[self.rank()], expected=expected))
        self._exchange([own] * self.size(), places, opts)

    def _exchange(self, parts: Sequence[Any], places: Sequence[Any], opts: Any) -> None:
        """Give every rank its part; what comes from each goes to its place. Sizes may differ."""
        n, own = self.size(), self.rank()
        np.copyto(places[own], parts[own])
        for distance in range(1, n):
            dst, src = (own + distance) % n, (own - distance) % n
            sent, got, code = parts[dst], places[src], arrays.code_of(parts[dst].dtype)
            connected(self._native).sendrecv(
                sent, sent.size, dst, got, got.size, src, code, 0, self._seconds(opts)
            )

    def _seconds(self, opts: Any) -> float:
        """Return the time that an operation has: its own, or else the group's."""
        own: float = opts.timeout.total_seconds()  # below 0 where none was given
        return own if own > 0 else self._timeout.total_seconds()

    def _issue(self, name: str, run: Callable[[], Any], result: Tensors, opts: Any) -> Work:
        work = Work(name, run, list(result))
        self._lane.run(work.run, here=not opts.asyncOp)
        return work


@atexit.register
def _shutdown() -> None:
    """End the threads while the interpreter can still serve them."""
    for group in list(_alive):
        group.shutdown()
