"""The engine in C++. Buffers are contiguous, counts are elements, dtypes and ops the codes of the headers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from typing_extensions import CapsuleType

from jobkit.errors import BackendError

Buffer = Any  # whatever PyObject_GetBuffer takes; typing can say so from Python 3.12 on

class Error(BackendError):
    culprit: int | None

class Handle:
    def done(self) -> bool: ...
    def wait(self, timeout_s: float = -1.0) -> bool: ...

class Group:
    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def failure(self) -> str | None: ...
    @property
    def is_sound(self) -> bool: ...
    def handle(self) -> CapsuleType: ...
    def topology(self) -> dict[str, Any]: ...
    # Of each: None with `wait`, a handle without.
    def all_reduce(
        self,
        op: int,
        src: Buffer,
        dst: Buffer,
        count: int,
        dtype: int,
        timeout_s: float = -1.0,
        scale: float = 1.0,
        wait: bool = True,
    ) -> Handle | None: ...
    def all_gather(
        self,
        src: Buffer,
        dst: Buffer,
        count: int,
        dtype: int,
        timeout_s: float = -1.0,
        wait: bool = True,
    ) -> Handle | None: ...
    def reduce_scatter(
        self,
        op: int,
        src: Buffer,
        dst: Buffer,
        count: int,
        dtype: int,
        timeout_s: float = -1.0,
        scale: float = 1.0,
        wait: bool = True,
    ) -> Handle | None: ...
    def broadcast(
        self, buf: Buffer, count: int, dtype: int, root: int, timeout_s: float = -1.0, wait: bool = True
    ) -> Handle | None: ...
    def all_to_all(
        self,
        src: Buffer,
        dst: Buffer,
        count_per_rank: int,
        dtype: int,
        timeout_s: float = -1.0,
        wait: bool = True,
    ) -> Handle | None: ...
    def gather(
        self,
        src: Buffer,
        dst: Buffer | None,
        count: int,
        dtype: int,
        root: int,
        timeout_s: float = -1.0,
        wait: bool = True,
    ) -> Handle | None: ...
    def scatter(
        self,
        src: Buffer | None,
        dst: Buffer,
        count: int,
        dtype: int,
        root: int,
        timeout_s: float = -1.0,
        wait: bool = True,
    ) -> Handle | None: ...
    def barrier(self, timeout_s: float = -1.0, wait: bool = True) -> Handle | None: ...
    def send(
        self,
        src: Buffer,
        count: int,
        dtype: int,
        dst: int,
        tag: int = 0,
        timeout_s: float = -1.0,
        wait: bool = True,
    ) -> Handle | None: ...
    def recv(
        self,
        dst: Buffer,
        count: int,
        dtype: int,
        src: int,
        tag: int = 0,
        timeout_s: float = -1.0,
        wait: bool = True,
    ) -> Handle | None: ...
    def sendrecv(
        self,
        src: Buffer,
        src_count: int,
        to: int,
        dst: Buffer,
        dst_count: int,
        from_: int,
        dtype: int,
        tag: int = 0,
        timeout_s: float = -1.0,
        wait: bool = True,
    ) -> Handle | None: ...
    # The operation's data travels by other means: see jobkit.native.planes. `call` is a code of src/call.h.
    def announce(
        self,
        call: int,
        count: int,
        dtype: int,
        peer: int = 0,
        sender: int = -1,
        n_received: int = 0,
        tag: int = 0,
        timeout_s: float = -1.0,
        wait: bool = True,
    ) -> Handle | None: ...
    # The result for plain NumPy arrays, NotImplemented for anything else; positional arguments only:
    # call (a code of src/call.h), x, out, timeout, root, scale
    @property
    def quick(self) -> Callable[[int, object, object, object, object, object], Any]: ...
    # call, x, peer, sender, tag, timeout
    @property
    def quick_message(self) -> Callable[[int, object, object, object, object, object], Any]: ...
    # The seconds of so many calls without Python in between.
    def repeat_all_reduce(
        self, op: int, src: Buffer, dst: Buffer, count: int, dtype: int, iterations: int
    ) -> float: ...
    def split(self, color: int | None, key: int = -1, timeout_s: float = -1.0) -> Group | None: ...
    def among(self, ranks: list[int], name: str) -> Group: ...
    def shrink(self, timeout_s: float = -1.0) -> Group: ...
    def abort(self, reason: str) -> None: ...
    def close(self) -> None: ...

def connect(
    rank: int,
    hosts: list[list[str]],
    *,
    mode: Literal["gang", "hostfile", "coordinator"],
    job: str,
    epoch: int,
    token: bytes,
    connect_timeout_s: float,
    timeout_s: float,
    heartbeat_s: float,
    verbose: bool,
    victim_file: str = "",
    checks: bool = False,
    shared_memory: bool = True,
    congestion: str = "",
    flight_file: str = "",
    exit_folder: str = "",
    schedules: str = "",
    recall: Callable[[str], str | None] | None = None,
    keep: Callable[[str, str], None] | None = None,
    label: str = "ring",
    devices: list[list[list[str]]] = ...,
    library: str = "",
    queue_pair: Literal["auto", "rc", "uc"] = "auto",
    gid: int = -1,
    mpi: Mapping[str, int | str] | None = None,  # addresses and handles: see MpiLibrary in src/mpi_link.h
) -> Group: ...
def verbs_devices(library: str = "") -> tuple[list[str], str]: ...
def abort_mpi_at_exit(mpi: Mapping[str, int | str]) -> None: ...
def empty(shape: tuple[int, ...], dtype: object) -> Any: ...
def kept_bytes() -> int: ...
def c_api() -> CapsuleType: ...
def reduce(
    op: int, dtype: int, left: Buffer, right: Buffer, out: Buffer, count: int, nontemporal: bool = False
) -> None: ...
def reduce_all(
    op: int,
    dtype: int,
    parts: Sequence[Buffer],
    out: Buffer,
    count: int,
    scale: float = 1.0,
    nontemporal: bool = False,
) -> None: ...
def copy(out: Buffer, in_: Buffer, n_bytes: int, nontemporal: bool = False) -> None: ...
def instruction_sets() -> tuple[str, ...]: ...
def use_instruction_set(name: str) -> None: ...
def plan(
    call: int,
    rank: int,
    size: int,
    count: int,
    topology: str = "direct",
    root: int = 0,
    n_bytes_per_element: int = 4,
    *,
    schedule: str = "",
    nodes: Sequence[int] = (),
    links: str = "tcp",
    rounds: bool = False,
    crowded: bool = False,
    table: str = "",
) -> tuple[str, int, list[dict[str, Any]]]: ...
def schedule_table(text: str) -> str: ...
def measured_table(size: int, timings: Sequence[tuple[int, int, str, float]]) -> str: ...
