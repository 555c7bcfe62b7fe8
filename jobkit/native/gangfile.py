"""Read what the shim leaves for the layer: the table of the gang (JOBKIT_GANG_FILE) with its token."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobkit.errors import BackendError, complaint

SCHEMA = 1
TOKEN_BYTES = 32  # at least


@dataclass(frozen=True)
class Member:
    """One rank of the gang.

    Attributes:
        rank: Its rank.
        host: The name of its host, for messages.
        node: Boot id and network namespace ("id:ns"): ranks with equal ones may share memory.
        addresses: IP addresses at which its host can be reached.
        port: The port reserved for the layer on that host.
    """

    rank: int
    host: str
    node: str
    addresses: tuple[str, ...]
    port: int


@dataclass(frozen=True)
class Gang:
    """All ranks that were placed together.

    Attributes:
        job: The job's identity, the same on every rank.
        attempt: Which start of the job this is, from 1.
        members: One per rank, in rank order.
    """

    job: str
    attempt: int
    members: tuple[Member, ...]


def read(path: str) -> Gang:
    """Return the gang that the file at `path` (JOBKIT_GANG_FILE) describes.

    Raises:
        BackendError: The file cannot be read or is not such a table.
    """
    where = f"gang file {path}"
    try:
        value = json.loads(_text(path, "gang file"))
    except (ValueError, RecursionError) as error:
        raise BackendError(complaint(where, f"not JSON ({error})")) from None
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        got = value.get("schema") if isinstance(value, dict) else type(value).__name__
        hint = "the shim that wrote it and this library are of different versions"
        raise BackendError(complaint(where, "unknown schema", got=got, expected=str(SCHEMA), hint=hint))
    try:
        gang = _gang(value)
    except (KeyError, TypeError, ValueError) as error:
        raise BackendError(complaint(where, f"damaged ({type(error).__name__}: {error})")) from None
    return gang


def hosts(gang: Gang) -> list[list[str]]:
    """Return the meeting addresses of every rank as "address:port", IPv6 in brackets, in rank order.

    >>> hosts(Gang("j", 1, (Member(0, "a", "b:n", ("10.0.0.1", "fe80::1"), 5000),)))
    [['10.0.0.1:5000', '[fe80::1]:5000']]
    """
    return [
        [
            f"[{address}]:{member.port}" if ":" in address else f"{address}:{member.port}"
            for address in member.addresses
        ]
        for member in gang.members
    ]


def read_token(path: str) -> bytes:
    """Return the secret of the job from the file at `path` (JOBKIT_TOKEN_FILE): hexadecimal text.

    Raises:
        BackendError: It cannot be read, is readable by others, not hexadecimal, or shorter than 32 bytes.
            The message never quotes it.
    """
    where = f"token file {path}"
    text = _text(path, "token file")
    mode = Path(path).stat().st_mode & 0o777
    if mode & 0o077:
        raise BackendError(complaint(where, "others can read it", got=oct(mode), expected="mode 0o600"))
    try:
        token = bytes.fromhex(text.strip())
    except ValueError:
        raise BackendError(complaint(where, "not hexadecimal")) from None
    if len(token) < TOKEN_BYTES:
        expected = f"at least {TOKEN_BYTES} bytes"
        raise BackendError(complaint(where, "too short", got=len(token), expected=expected))
    return token


def _text(path: str, kind: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise BackendError(complaint(f"{kind} {path}", f"cannot be read: {error.strerror}")) from None
    except UnicodeDecodeError:
        raise BackendError(complaint(f"{kind} {path}", "not UTF-8 text")) from None


def _gang(value: dict[str, Any]) -> Gang:
    members = tuple(_member(entry) for entry in value["ranks"])
    if not members or [member.rank for member in members] != list(range(value["size"])):
        raise ValueError(f"ranks {[member.rank for member in members]} of {value['size']}")
    return Gang(job=str(value["job"]), attempt=int(value["attempt"]), members=members)


def _member(entry: dict[str, Any]) -> Member:
    member = Member(
        rank=int(entry["rank"]),
        host=str(entry["host"]),
        node=str(entry["node"]),
        addresses=tuple(str(address) for address in entry["addresses"]),
        port=int(entry["port"]),
    )
    if not member.addresses or not 0 < member.port < 65536:
        raise ValueError(
            f"no address to reach rank {member.rank}: {list(member.addresses)}, port {member.port}"
        )
    return member
