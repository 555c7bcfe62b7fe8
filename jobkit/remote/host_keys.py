"""Whose host key is believed: a known one's, on first use anybody's, or always anybody's."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STRICT, FIRST_USE, OFF = KINDS = ("strict", "tofu", "off")
_USERS, _SYSTEMS = "userknownhostsfile", "globalknownhostsfile"
_DEFAULTS = {
    _USERS: "~/.ssh/known_hosts ~/.ssh/known_hosts2",
    _SYSTEMS: "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2",
}


class UnknownKeyError(Exception):
    """A host whose key nobody has vouched for: its name, the key's kind, its fingerprint."""


class _Strict:
    """What is done about a host that is in no known_hosts: nothing is sent to it."""

    def missing_host_key(self, _client: object, hostname: str, key: Any) -> None:
        raise UnknownKeyError(hostname, key.get_name(), key.fingerprint)


class _FirstUse:
    """It is believed, and its key kept, so that another one is refused from then on."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def missing_host_key(self, _client: object, hostname: str, key: Any) -> None:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        fd = os.open(self._file, flags, 0o600)
        try:
            os.write(fd, f"{hostname} {key.get_name()} {key.get_base64()}\n".encode())
        finally:
            os.close(fd)
        told = f"{hostname}: its host key ({key.get_name()} {key.fingerprint}) is kept in {self._file}"
        print(f"jobkit: warning: {told}", file=sys.stderr, flush=True)


class _Off:
    """It is believed."""

    def missing_host_key(self, _client: object, _hostname: str, _key: Any) -> None:
        return


def apply(client: Any, settings: Mapping[str, str], kind: str) -> None:
    """Let a client of paramiko's accept the keys that are to be accepted.

    Args:
        client: It has not connected yet.
        settings: What ssh_config says of the host, by lower-case names.
        kind: One of KINDS.
    """
    files = {name: _paths(settings.get(name, default)) for name, default in _DEFAULTS.items()}
    if kind != OFF:
        for path in (*files[_USERS], *files[_SYSTEMS]):
            if path.is_file():
                client.load_system_host_keys(str(path))
    # "none" names no file.
    own = next((path for path in files[_USERS] if path.is_absolute()), _paths(_DEFAULTS[_USERS])[0])
    client.set_missing_host_key_policy({STRICT: _Strict(), FIRST_USE: _FirstUse(own), OFF: _Off()}[kind])


def _paths(text: str) -> list[Path]:
    return [Path(path).expanduser() for path in shlex.split(text)]
