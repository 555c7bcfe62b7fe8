"""Messages between a rank and the coordinator, and how either knows the other.

A message is 4 bytes of length, 32 of a message authentication code (keyed BLAKE2b, RFC 7693) and JSON. Both
sides give a random number first, and every later code covers both, and all of HELLO: what was heard once is
worth nothing again. Nothing that is secret crosses: the secret of the attempt is derived from the token on
each side.

    rank                                   coordinator
    HELLO   job, attempt, rank, nonce  →   (not authenticated)
                                       ←   CHALLENGE   nonce
    REPORT  report, clock              →
                                       ←   TABLE   reports, salt   or   REFUSAL
"""

from __future__ import annotations

from _blake2 import blake2b
from _operator import _compare_digest

from jobkit.env.json_ import dumps, loads

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

CODE_BYTES = 32
HEAD_BYTES = 4 + CODE_BYTES
NOBODY = bytes(CODE_BYTES)  # the code of a message that nobody vouches for
MOST = 8192  # bytes of any message to the coordinator, and of a rank in the table

COORDINATOR, RANK, TABLE = b"coordinator", b"rank", b"table"


class Garbage(Exception):
    """What came is no message of ours."""


def code(token: bytes, role: bytes, nonces: bytes, payload: bytes) -> bytes:
    """Return the code of a message: by whom, in which conversation, saying what."""
    return blake2b(role + b"\0" + nonces + payload, key=token, digest_size=CODE_BYTES).digest()


def digest(data: bytes) -> bytes:
    """Return what stands for a long message in its code."""
    return blake2b(data, digest_size=32).digest()


def secret(token: bytes, job: str, attempt: int, salt: str) -> str:
    """Return the attempt's secret in hexadecimal, which only who has the token can know."""
    return blake2b(
        f"secret\0{job}/{attempt}/{salt}".encode(errors="surrogateescape"), key=token, digest_size=32
    ).hexdigest()


def same(one: bytes, other: bytes) -> bool:
    """Compare two codes, in a time that tells nothing of where they differ."""
    return _compare_digest(one, other)


def printable(text: object, most: int = 80) -> str:
    """Return what a stranger said as it may be shown: no control characters, not too long."""
    return ascii(str(text)[:most])[1:-1]


def frame(payload: bytes, code_: bytes = NOBODY) -> bytes:
    """Return a message as it is sent."""
    return len(payload).to_bytes(4, "big") + code_ + payload


def encode(message: dict[str, object]) -> bytes:
    """Return a message's payload."""
    return dumps(message).encode()


def decode(payload: bytes) -> dict[str, Any]:
    """Return what a payload says.

    Raises:
        Garbage: It is no JSON object.
    """
    try:
        message = loads(payload.decode())
    except (ValueError, RecursionError) as error:
        raise Garbage("no JSON") from error
    if not isinstance(message, dict):
        raise Garbage("no JSON object")
    return message


class Inbox:
    """Bytes of one connection as they come, and the messages in them."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._bytes = bytearray()

    def put(self, data: bytes) -> None:
        """Take what was received."""
        self._bytes += data

    def take(self) -> tuple[bytes, bytes] | None:
        """Return code and payload of the next message, None if it is not whole yet.

        Raises:
            Garbage: It says that it is longer than it may be.
        """
        if len(self._bytes) < 4:
            return None
        n_bytes = int.from_bytes(self._bytes[:4], "big")
        if n_bytes > self.most:
            raise Garbage(f"a message of {n_bytes} bytes")
        end = HEAD_BYTES + n_bytes
        if len(self._bytes) < end:
            return None
        taken = bytes(self._bytes[4:HEAD_BYTES]), bytes(self._bytes[HEAD_BYTES:end])
        del self._bytes[:end]
        return taken
