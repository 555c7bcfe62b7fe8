"""Connections to other machines: fabric, with host keys verified and errors that say what to do.

A host whose key is not in the user's or the system's known_hosts, or is another one there, is refused,
unless something else is asked for. Of the user's ssh_config count Host, HostName, User, Port, IdentityFile,
IdentitiesOnly, ProxyJump, ProxyCommand, ConnectTimeout, ForwardAgent, UserKnownHostsFile and
GlobalKnownHostsFile.
"""

from __future__ import annotations

import contextlib
import logging
import random
import socket
import time
from typing import Any

from jobkit.errors import SubmitError, complaint
from jobkit.remote import gateways, host_keys

_PORT = 22
_CONNECT_S = 20
_BANNER_S = 20
_AUTH_S = 60
_KEEPALIVE_S = 15
# The other side says every few seconds that it lives.
SILENCE_S = 45.0
# sshd drops some of many connections that come at once.
_TRIES = 4
_STDERR_BYTES = 8192
# A server that drops a connection does so at once; one that has taken longer will take as long again.
_DROPS_IN_S = 5.0


class LostError(SubmitError):
    """The machine cannot be reached now, or the connection broke: another try may succeed."""


class _DroppedError(LostError):
    """The server hung up before it had said who it is, as it does when many connect at once."""


class Channel:
    """A command that runs on another machine: bytes to its standard input, bytes from its output."""

    def __init__(self, connection: Any, login: str, command: str) -> None:
        """Start it."""
        import paramiko

        self.login = login
        self._connection = connection
        self._buffer = bytearray()
        self._stderr = bytearray()
        try:
            connection.transport.set_keepalive(_KEEPALIVE_S)
            self._channel = connection.transport.open_session(timeout=_CONNECT_S)
            self._channel.settimeout(SILENCE_S)
            self._channel.exec_command(command)
        except (paramiko.SSHException, OSError, EOFError) as error:
            connection.close()
            raise LostError(complaint(login, f"starts no command: {_words(error)}")) from error

    def write(self, data: bytes) -> None:
        """Write all of the data.

        Raises:
            LostError: The connection broke.
            BrokenPipeError: The command has ended.
        """
        try:
            self._channel.sendall(data)
        except OSError as error:
            if self.status() is not None:
                raise BrokenPipeError from error
            raise LostError(complaint(self.login, "the connection broke")) from error

    def read(self, size: int, /) -> bytes:
        """Return this many bytes, fewer at the end."""
        while len(self._buffer) < size and self._fill():
            pass
        return self._take(size)

    def readline(self, size: int, /) -> bytes:
        """Return a line with its end; without it at the end, or when it is longer than `size`."""
        start = 0
        while (end := self._buffer.find(b"\n", start)) < 0 and len(self._buffer) < size:
            start = len(self._buffer)
            if not self._fill():
                break
        return self._take(min(size, end + 1 if end >= 0 else len(self._buffer)))

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _fill(self) -> bool:
        """Read what has come; return False at the end."""
        try:
            data = self._channel.recv(1 << 18)
            while self._channel.recv_stderr_ready():
                self._stderr += self._channel.recv_stderr(1 << 16)
                del self._stderr[:-_STDERR_BYTES]
        except OSError as error:
            raise LostError(complaint(self.login, "the connection is silent")) from error
        self._buffer += data
        return bool(data)

    def read_some(self, size: int, /) -> bytes:
        """Return what has come, as soon as something has; nothing at the end, however it came."""
        self._channel.settimeout(None)
        with contextlib.suppress(LostError):
            if not self._buffer:
                self._fill()
        return self._take(size)

    def end_input(self) -> None:
        """Let the command see the end of its input."""
        with contextlib.suppress(OSError, EOFError):
            self._channel.shutdown_write()

    def wait(self, seconds: float) -> None:
        """Wait so long for the end of the command."""
        self._channel.status_event.wait(seconds)

    def another(self, command: str) -> Channel:
        """Start another command over the same connection."""
        return Channel(self._connection, self.login, command)

    def status(self) -> int | None:
        """Return the exit status of the command that has ended; None when it runs, or was cut off."""
        self._channel.status_event.wait(2.0)
        status = int(self._channel.exit_status)
        return None if status < 0 else status

    def forget_words(self) -> None:
        """Read over what has been written to standard error until now: a login shell's."""
        while self._channel.recv_stderr_ready():
            self._channel.recv_stderr(1 << 16)
        self._stderr.clear()

    def last_words(self) -> str:
        """Return the last line that the command has written to standard error."""
        while self._channel.recv_stderr_ready():
            self._stderr += self._channel.recv_stderr(1 << 16)
        lines = [line.strip() for line in self._stderr.decode(errors="replace").splitlines()]
        return next((line for line in reversed(lines) if line), "")

    def close(self) -> None:
        """Close the connection; what runs on the other side sees the end of its input."""
        self._connection.close()


def start(login: str, command: str, where: str = "slurm.login", keys: str = host_keys.STRICT) -> Channel:
    """Start a command on another machine.

    Args:
        login: [USER@]HOST[:PORT]; HOST may be a Host of the user's ssh_config.
        command: For the login shell, whichever it is.
        where: The key of a spec, or the flag, that names the machine.
        keys: Which host keys are believed: one of `host_keys.KINDS`.

    Raises:
        LostError: It cannot be reached now.
        SubmitError: It is refused, or refuses us.
    """
    for attempt in range(_TRIES):
        connection = _connection(login, where, keys)
        began = time.monotonic()
        try:
            _open(connection, login, where)
        except _DroppedError:
            connection.close()
            if attempt == _TRIES - 1 or time.monotonic() > began + _DROPS_IN_S:
                raise
            time.sleep(random.uniform(0.2, 0.6) * 2**attempt)
        except BaseException:
            connection.close()
            raise
        else:
            return Channel(connection, login, command)
    raise AssertionError("the last try returns or raises")


def _connection(login: str, where: str, keys: str = host_keys.STRICT) -> Any:
    """Return a connection that is not open yet, with everything that the user's ssh_config says."""
    import fabric

    # Its threads would print what is told here.
    logger = logging.getLogger("paramiko")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    try:
        host = fabric.connection.derive_shorthand(login)["host"]
        if not host:
            raise ValueError("no host")
        config = fabric.Config()
        hops = config.base_ssh_config.lookup(host).get("proxyjump", "")
        gateway = False if hops.lower() == "none" else None
        # In this order, as ssh has it; fabric would go through the last one first.
        for hop in hops.split(",") if "," in hops else ():
            gateway = fabric.Connection(hop.strip(), config=config.clone(), gateway=gateway)
        connection = fabric.Connection(login, config=config, gateway=gateway)
    except Exception as error:
        # Both libraries raise what they like for what is written in a file.
        raise SubmitError(complaint(where, f"cannot be used: {_words(error)}", got=login)) from error
    if isinstance(connection.gateway, fabric.Connection):
        connection.gateway = gateways.share(connection.gateway, keys, lambda one: _secure(one, keys))
    _secure(connection, keys)
    return connection


def _secure(connection: Any, keys: str) -> None:
    """Let a connection accept those host keys alone, and wait for nothing without end."""
    found = connection.ssh_config
    host_keys.apply(connection.client, found, keys)
    connection.connect_timeout = connection.connect_timeout or _CONNECT_S
    limits = {"banner_timeout": _BANNER_S, "auth_timeout": _AUTH_S, "channel_timeout": _CONNECT_S}
    if found.get("identitiesonly", "no").lower() == "yes" and "identityfile" in found:
        limits |= {"allow_agent": False, "look_for_keys": False}
    connection.connect_kwargs = {**limits, **connection.connect_kwargs}


def _open(connection: Any, login: str, where: str) -> None:
    """Open a connection, after the gateway that it goes through."""
    gateway = connection.gateway
    if gateway and not isinstance(gateway, str):
        gateways.open_(gateway, lambda one: _open_one(one, f"{login}: its gateway {one.host}", where))
    _open_one(connection, login, where)


def _open_one(connection: Any, login: str, where: str) -> None:
    """Open a connection, and say what is wrong where it cannot be."""
    import paramiko

    try:
        connection.open()
    except host_keys.UnknownKeyError as error:
        raise _unknown(login, *error.args) from error
    except paramiko.BadHostKeyException as error:
        raise _changed(login, error, connection.port) from error
    except paramiko.AuthenticationException as error:
        name = f"{connection.user}@{connection.original_host}"
        hint = f"`ssh {name} true` has to work without a question: ssh-copy-id, ssh-add"
        wrong = f"does not let {connection.user} in: {_words(error)}"
        raise SubmitError(complaint(login, wrong, hint=hint)) from error
    except socket.gaierror as error:
        wrong = f"no such host: {error.strerror}"
        hint = f"{where} takes user@host, or a Host of ~/.ssh/config"
        raise SubmitError(complaint(login, wrong, hint=hint)) from error
    except (paramiko.ChannelException, paramiko.ssh_exception.NoValidConnectionsError, TimeoutError) as error:
        raise LostError(complaint(login, f"cannot be reached: {_words(error)}")) from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise _DroppedError(complaint(login, f"cannot be reached: {_words(error)}")) from error


def _unknown(login: str, host: str, kind: str, fingerprint: str) -> SubmitError:
    name, port = _split(host)
    wrong = f"its host key ({kind} {fingerprint}) is not in known_hosts"
    hint = f"compare it with what the site says, then: ssh-keyscan {port}{name} >> ~/.ssh/known_hosts"
    return SubmitError(complaint(login, wrong, hint=hint))


def _changed(login: str, error: Any, port: int) -> SubmitError:
    name = error.hostname if port == _PORT else f"[{error.hostname}]:{port}"
    wrong = f"its host key ({error.key.get_name()} {error.key.fingerprint}) is not the one in known_hosts"
    hint = f"someone may be in between; if the site has changed its key: ssh-keygen -R '{name}'"
    return SubmitError(complaint(login, wrong, hint=hint))


def _split(host: str) -> tuple[str, str]:
    """Return a name of known_hosts, and the option for its port.

    >>> _split("[login1]:2222"), _split("login1")
    (('login1', '-p 2222 '), ('login1', ''))
    """
    if not host.startswith("["):
        return host, ""
    name, _, port = host[1:].partition("]:")
    return name, f"-p {port} "


def _words(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
