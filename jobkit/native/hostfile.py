"""Read the hostfile of MLX's ring: a JSON list with one list of "host:port" strings per rank."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jobkit.errors import BackendError, complaint

Hosts = list[list[str]]  # hosts[r] are the addresses of rank r, as written

FORM = '[["host:port", ...], ...] with one list per rank'
LAUNCHER_HINT = (
    "this is a hostfile for starting programs: `jobkit launch --hostfile` takes it and writes the one "
    "that MLX_HOSTFILE names"
)


def read(path: str, *, rank: int, size: int | None = None) -> Hosts:
    """Return the addresses of every rank, in rank order, as they are written in the file.

    Every rank reads the same table. Names and IPv6 literals (`[::1]:5000`) are accepted; nothing is resolved
    here.

    Args:
        path: The file, as MLX_HOSTFILE names it.
        rank: This process, which must be in the table.
        size: What MLX_WORLD_SIZE says, None where it says nothing.

    Raises:
        BackendError: The file cannot be read or is not such a table.

    Source: https://ml-explore.github.io/mlx/build/html/usage/distributed.html, "Ring".
    """
    table = parse(_text(path), where=f"hostfile {path}")
    if size is not None and len(table) != size:
        raise _error(path, "wrong number of ranks", len(table), f"{size} as MLX_WORLD_SIZE says")
    if not 0 <= rank < len(table):
        raise _error(path, "MLX_RANK is not in the file", rank, f"a rank from 0 to {len(table) - 1}")
    return table


def parse(text: str, *, where: str) -> Hosts:
    """Return the table that `text` holds; `where` names it in errors (BackendError)."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BackendError(complaint(where, f"not JSON ({error})", got=text[:40], expected=FORM)) from None
    _check_is_table(value, where)
    for rank, addresses in enumerate(value):
        _check_addresses(addresses, f"{where}: rank {rank}")
        if len(addresses) != len(value[0]):
            expected = f"{len(value[0])} as rank 0 has"
            raise BackendError(
                complaint(
                    f"{where}: rank {rank}",
                    "wrong number of addresses",
                    got=len(addresses),
                    expected=expected,
                )
            )
    _check_distinct(value, where)
    return [[str(address) for address in addresses] for addresses in value]


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of "host:port", an IPv6 host without its brackets.

    Raises:
        ValueError: There is no host, no port, or an IPv6 literal without brackets; the message says which.

    >>> split_address("[fe80::1%en0]:5000")
    ('fe80::1%en0', 5000)
    """
    host, separator, port = address.rpartition(":")
    if not separator or not host:
        raise ValueError("no port" if not separator else "no host")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("an IPv6 address without brackets")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError("not a port from 1 to 65535")
    return host, int(port)


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise BackendError(complaint(f"hostfile {path}", f"cannot be read: {error.strerror}")) from None
    except UnicodeDecodeError:
        raise BackendError(complaint(f"hostfile {path}", "not UTF-8 text", expected=FORM)) from None


def _check_is_table(value: Any, where: str) -> None:
    if isinstance(value, dict) or (
        isinstance(value, list) and any(isinstance(entry, dict) for entry in value)
    ):
        wrong = "the format of mlx.launch"
        raise BackendError(complaint(where, wrong, got=_short(value), expected=FORM, hint=LAUNCHER_HINT))
    if not isinstance(value, list):
        raise BackendError(complaint(where, "not a list", got=_short(value), expected=FORM))
    if not value:
        raise BackendError(complaint(where, "no ranks", got=value, expected=FORM))


def _check_addresses(addresses: Any, where: str) -> None:
    if not isinstance(addresses, list) or not addresses:
        expected = 'a list of at least one "host:port"'
        raise BackendError(
            complaint(where, "not a list of addresses", got=_short(addresses), expected=expected)
        )
    for address in addresses:
        if not isinstance(address, str):
            raise BackendError(
                complaint(where, "not an address", got=_short(address), expected='"host:port"')
            )
        try:
            split_address(address)
        except ValueError as error:
            expected = '"host:port" or "[ipv6]:port"'
            raise BackendError(complaint(where, str(error), got=address, expected=expected)) from None


def _check_distinct(table: Hosts, where: str) -> None:
    owners: dict[str, int] = {}
    for rank, addresses in enumerate(table):
        for address in addresses:
            if address in owners:
                wrong = f"an address of rank {owners[address]} again"
                expected = "an address of its own for every listener"
                raise BackendError(complaint(f"{where}: rank {rank}", wrong, got=address, expected=expected))
            owners[address] = rank


def _short(value: Any) -> Any:
    text = repr(value)
    return value if len(text) <= 60 else f"{text[:57]}..."


def _error(path: str, wrong: str, got: object, expected: str) -> BackendError:
    return BackendError(complaint(f"hostfile {path}", wrong, got=got, expected=expected))
