"""How ranks meet at NCCL_HOST_IP:NCCL_PORT, where no shim of jobkit's prepared it.

Rank 0 listens there until all have come, tells everybody the addresses of all, and closes the port. The
handshake is mutual: each side sends a fresh nonce and a code (HMAC-SHA-256) of both nonces with the job's
secret. Without a secret (JOBKIT_TOKEN_FILE) whoever speaks the handshake is taken for a rank.

A message is its length in 4 bytes, big-endian, and JSON:

    rank → 0   {"magic", "rank", "size", "nonce"}
    0 → rank   {"nonce", "code"}                     or {"refused"}
    rank → 0   {"code", "addresses"}
    0 → rank   {"hosts", "job", "code"}              or {"refused"}, once all have come
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import queue
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jobkit.errors import BackendError, complaint
from jobkit.native import ring
from jobkit.native.addresses import addresses, reserved_port

MAGIC = "jobkit nccl 1"
CALLER_TIMEOUT_S = 5.0  # for one that says nothing
RETRY_S = 0.1
MAX_BYTES = 1 << 20
NONCE_BYTES = 16


@dataclass(frozen=True)
class Place:
    """Where the ranks meet.

    Attributes:
        host: Rank 0's name or address.
        port: The port there.
        rank: This process.
        size: How many ranks come.
        token: The job's secret, empty without.
        timeout_s: Seconds until all must have come; 0: any time.
    """

    host: str
    port: int
    rank: int
    size: int
    token: bytes
    timeout_s: float

    def __str__(self) -> str:
        return f"backend nccl: {self.host}:{self.port}"


@contextlib.contextmanager
def meet(place: Place) -> Iterator[ring.Meeting]:
    """Yield who is where, with a port kept for this rank's engine. Collective: every rank.

    Raises:
        BackendError: Not all came in time, the port is taken, or this rank is refused.
    """
    deadline = time.monotonic() + (place.timeout_s or float("inf"))
    with reserved_port() as port:
        table = _serve(place, port, deadline) if place.rank == 0 else _ask(place, port, deadline)
        yield ring.Meeting(place.rank, table["hosts"], "gang", table["job"], place.token)


# --- rank 0 ---


def _serve(place: Place, port: int, deadline: float) -> dict[str, Any]:
    """Return the table of all ranks, once each has it."""
    hosts: dict[int, list[str]] = {0: _with_port(place.host, port)}
    job = f"nccl/{secrets.token_hex(8)}"
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_listener(place))
        came: queue.SimpleQueue[_Caller] = queue.SimpleQueue()
        callers: dict[int, _Caller] = {}
        while len(hosts) < place.size:
            _accept(listener, place, came)
            while not came.empty():
                caller = came.get()
                stack.enter_context(contextlib.closing(caller.connection))
                if caller.rank in hosts:
                    caller.refuse(f"rank {caller.rank} has come already")
                else:
                    hosts[caller.rank], callers[caller.rank] = caller.addresses, caller
            if time.monotonic() > deadline:
                missing = [rank for rank in range(place.size) if rank not in hosts]
                _refuse_all(callers, f"rank 0 gave up: ranks {missing} did not come")
                raise BackendError(complaint(str(place), _waited(place, f"ranks {missing}")))
        table = {"hosts": [hosts[rank] for rank in range(place.size)], "job": job}
        for caller in callers.values():
            caller.tell(table, place.token)
        return table


@contextlib.contextmanager
def _listener(place: Place) -> Iterator[socket.socket]:
    with socket.socket() as listener:
        # The shim, and MLX's own, keep the port with this option.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((_local(place.host), place.port))
            listener.listen(place.size)
        except (OSError, OverflowError) as error:
            hint = "NCCL_HOST_IP is an address of rank 0's host, and NCCL_PORT free there"
            raise BackendError(complaint(str(place), f"cannot listen: {error}", hint=hint)) from None
        listener.settimeout(RETRY_S)
        yield listener


def _local(host: str) -> str:
    """Return the address to listen at: the given one where it is this host's, else all."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:  # a name for the world outside of a container, say
            return ""
        return str(probe.getsockname()[0])


def _accept(listener: socket.socket, place: Place, came: queue.SimpleQueue[_Caller]) -> None:
    try:
        connection, address = listener.accept()
    except TimeoutError:
        return

    def talk() -> None:
        try:
            came.put(_Caller(connection, place))
        except (OSError, ValueError, KeyError, TypeError) as error:
            connection.close()
            wrong = f"a caller from {address[0]} that is no rank of this job: {error or type(error).__name__}"
            logging.getLogger(__name__).warning(
                complaint(str(place), wrong, hint="MLX's own NCCL, or another job?")
            )

    threading.Thread(target=talk, name="jobkit-nccl-caller", daemon=True).start()


class _Caller:
    """A rank that has shaken hands with rank 0."""

    def __init__(self, connection: socket.socket, place: Place) -> None:
        self.connection = connection
        connection.settimeout(CALLER_TIMEOUT_S)
        hello = _receive(connection)
        if hello["magic"] != MAGIC:
            raise ValueError("it does not speak the handshake")
        self.rank, size, self._theirs = int(hello["rank"]), int(hello["size"]), str(hello["nonce"])
        if size != place.size or not 0 < self.rank < size:
            self.refuse(f"rank {self.rank} of {size} is no rank of {place.size}")
            raise ValueError(f"rank {self.rank} of {size}")
        self._ours = secrets.token_hex(NONCE_BYTES)
        _send(connection, {"nonce": self._ours, "code": _code(place.token, "0", self._theirs, self._ours)})
        answer = _receive(connection)
        expected = _code(place.token, str(self.rank), self._ours, self._theirs)
        if not hmac.compare_digest(str(answer["code"]), expected):
            self.refuse("it has another secret")
            raise ValueError("it has another secret")
        self.addresses = [str(address) for address in answer["addresses"]]

    def tell(self, table: dict[str, Any], token: bytes) -> None:
        code = _code(token, json.dumps(table), self._theirs, self._ours)
        with contextlib.suppress(OSError):  # the engine finds out who is gone
            _send(self.connection, {**table, "code": code})

    def refuse(self, reason: str) -> None:
        with contextlib.suppress(OSError):
            _send(self.connection, {"refused": reason})


def _refuse_all(callers: dict[int, _Caller], reason: str) -> None:
    for caller in callers.values():
        caller.refuse(reason)


# --- the others ---


def _ask(place: Place, port: int, deadline: float) -> dict[str, Any]:
    with _connected(place, deadline) as connection:
        ours = secrets.token_hex(NONCE_BYTES)
        connection.settimeout(_left(deadline))
        try:
            _send(connection, {"magic": MAGIC, "rank": place.rank, "size": place.size, "nonce": ours})
            first = _answer(connection, place)
            theirs = str(first["nonce"])
            if not hmac.compare_digest(str(first["code"]), _code(place.token, "0", ours, theirs)):
                raise BackendError(complaint(str(place), "rank 0 there has another secret"))
            code = _code(place.token, str(place.rank), theirs, ours)
            _send(connection, {"code": code, "addresses": _with_port(place.host, port)})
            connection.settimeout(_left(deadline))
            table = _answer(connection, place)
            found = {"hosts": table["hosts"], "job": table["job"]}
            if not hmac.compare_digest(
                str(table["code"]), _code(place.token, json.dumps(found), ours, theirs)
            ):
                raise BackendError(complaint(str(place), "the answer was changed on its way"))
        except TimeoutError:
            raise BackendError(complaint(str(place), _waited(place, "rank 0's answer"))) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            wrong = f"who listens there is not rank 0 of this job ({error or type(error).__name__})"
            raise BackendError(complaint(str(place), wrong, hint="MLX's own NCCL?")) from None
        return found


@contextlib.contextmanager
def _connected(place: Place, deadline: float) -> Iterator[socket.socket]:
    """Connect to rank 0, which may not listen yet."""
    while True:
        try:
            made = socket.create_connection((place.host, place.port), min(_left(deadline), CALLER_TIMEOUT_S))
            break
        except (OSError, OverflowError) as error:
            if time.monotonic() + RETRY_S > deadline:
                wrong = f"{_waited(place, 'rank 0 to listen')}: {error}"
                raise BackendError(complaint(str(place), wrong)) from None
            time.sleep(RETRY_S)
    with made:
        yield made


def _answer(connection: socket.socket, place: Place) -> dict[str, Any]:
    answer = _receive(connection)
    if "refused" in answer:
        raise BackendError(complaint(str(place), f"rank 0 refuses this rank: {answer['refused']}"))
    return answer


# --- both ---


def _with_port(host: str, port: int) -> list[str]:
    return [f"{address}:{port}" for address in addresses(host)]


def _left(deadline: float) -> float:
    return max(0.01, min(deadline - time.monotonic(), 1e9))


def _waited(place: Place, what: str) -> str:
    return f"rank {place.rank} of {place.size} waited {place.timeout_s:.1f} s for {what}"


def _code(token: bytes, text: str, first: str, second: str) -> str:
    return hmac.new(token, f"{MAGIC}\n{text}\n{first}\n{second}".encode(), hashlib.sha256).hexdigest()


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode()
    connection.sendall(len(data).to_bytes(4, "big") + data)


def _receive(connection: socket.socket) -> dict[str, Any]:
    n_bytes = int.from_bytes(_read(connection, 4), "big")
    if n_bytes > MAX_BYTES:
        raise ValueError("it does not speak the handshake")
    message = json.loads(_read(connection, n_bytes))
    if not isinstance(message, dict):
        raise ValueError("it does not speak the handshake")
    return message


def _read(connection: socket.socket, n_bytes: int) -> bytes:
    parts = b""
    while len(parts) < n_bytes:
        part = connection.recv(n_bytes - len(parts))
        if not part:
            raise ConnectionResetError("it hung up")
        parts += part
    return parts
