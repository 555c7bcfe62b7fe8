"""Reach a host of a launch over SSH: one connection, whose other end becomes an agent once asked."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jobkit import __version__
from jobkit.errors import JobkitError, SubmitError, complaint
from jobkit.remote import connection, host_keys, session
from jobkit.remote.connection import Channel, LostError
from jobkit.remote.there import frames

FLAG = "--hosts"
_PYTHON_FLAG = "with --agent-python"
_MODULES = ("frames", "launch")


@dataclass(frozen=True)
class Reached:
    """A host that can run ranks.

    Attributes:
        channel: What is written to it is an agent's standard input, what is read its output.
        python: The interpreter there.
        workdir: Where the program starts there.
        needs_python: Whether the program has to be given to the interpreter.
        client: The address of this machine, as that host sees it; "" where unknown.
        address: That host's own, at which it was reached; "" where unknown.
        host: That host's name for itself.
        environ: Of the login there.
    """

    channel: Channel
    python: str
    workdir: str
    needs_python: bool
    client: str
    address: str
    host: str
    environ: dict[str, str] = field(repr=False)


def reach(
    login: str,
    pythons: Sequence[str],
    workdir: str,
    *,
    is_asked_for: bool,
    words: Sequence[str],
    keys: str = host_keys.STRICT,
) -> Reached:
    """Return the connection to a host whose agent only waits for its request.

    Args:
        login: [USER@]HOST[:PORT], or a Host of the user's ssh_config.
        pythons: Interpreters; the first that is there has to have jobkit.
        workdir: Where the program is to start.
        is_asked_for: Whether it must: otherwise a folder that is not there means the login's own.
        words: The program and its arguments.
        keys: Which host keys are believed: one of `host_keys.KINDS`.

    Raises:
        SubmitError: The host cannot be used.
    """
    channel = None
    try:
        channel = connection.start(login, session.command(pythons[0]), FLAG, keys)
        channel, hello = _asked(channel, pythons, (workdir, is_asked_for, list(words)))
        _check(login, hello)
        channel.forget_words()
        return Reached(channel, **{name: hello[name] for name in Reached.__match_args__ if name in hello})
    except BaseException as error:
        if channel is not None:
            channel.close()
        if isinstance(error, JobkitError) or not isinstance(error, Exception):
            raise
        # Whatever a library raises: the other hosts wait for an answer of this one.
        raise SubmitError(complaint(login, f"cannot be used: {error!r}")) from error


def _asked(channel: Channel, pythons: Sequence[str], about: Sequence[object]) -> tuple[Channel, Any]:
    """Return the answer of the first interpreter that starts, and the channel that it runs in."""
    for following in (*pythons[1:], None):
        try:
            return channel, _hello(channel, about)
        except LostError:
            raise
        except SubmitError:
            if following is None:
                raise
            channel = channel.another(session.command(following))
    raise AssertionError("the last one returns or raises")


def _hello(channel: Channel, about: Sequence[object]) -> Any:
    marker = secrets.token_hex(16)
    with contextlib.suppress(BrokenPipeError):  # what has ended is told below
        channel.write(session.program(marker, _MODULES, "launch.main", *about))
    session.skip_to(channel, marker, _PYTHON_FLAG)
    try:
        return frames.read(channel)[0]
    except (EOFError, ValueError, KeyError, TypeError) as error:
        raise SubmitError(complaint(channel.login, f"answers what is no answer: {error}")) from error


def _check(login: str, hello: Any) -> None:
    """Refuse a host without this jobkit, or without the folder in which the program is to start."""
    if "old" in hello:
        hint = f"name another interpreter on {login} {_PYTHON_FLAG}"
        wrong = "its Python is too old"
        raise SubmitError(complaint(login, wrong, got=hello["old"], expected=session.OLDEST, hint=hint))
    if hello["jobkit"] == __version__:
        if not hello["has_workdir"]:
            hint = f"make it on {login}, or name another one with --cwd"
            raise SubmitError(complaint(f"{login}: {hello['workdir']}", "is no folder to work in", hint=hint))
        return
    hint = f"on {login}: {hello['python']} -m pip install jobkit=={__version__}, or name another interpreter "
    if hello["jobkit"] is None:
        raise SubmitError(complaint(login, f"{hello['python']} has no jobkit", hint=hint + _PYTHON_FLAG))
    wrong = f"{hello['python']} has another jobkit"
    raise SubmitError(
        complaint(login, wrong, got=hello["jobkit"], expected=__version__, hint=hint + _PYTHON_FLAG)
    )
