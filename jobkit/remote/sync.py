"""Send a working tree to another machine: only what changed."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from jobkit.errors import SubmitError, complaint
from jobkit.jobs import files, home
from jobkit.remote import tree
from jobkit.remote.session import Session

_CHUNK_BYTES = 1 << 20
# Whoever waits longer than this wants to know what for (seconds).
_QUIET_S = 2.0
_MACHINE = "machine"


def send(session: Session, root: Path, environ: Mapping[str, str], say: Callable[[str], None]) -> str:
    """Make the copy of a tree on the other machine equal to it; return where the copy lies.

    Args:
        say: Gets a line for people now and then, and one at the end.

    Raises:
        LostError: The connection broke; the next time goes on.
        SubmitError: It cannot be read here, or written there.
    """
    return transfer(session, name(root, environ), root, manifest(root, environ), say)


def manifest(root: Path, environ: Mapping[str, str]) -> dict[str, tree.Face]:
    """Return what of a working tree is sent.

    Raises:
        SubmitError: It cannot be read.
    """
    return tree.manifest(root, home.home(environ).resolve())


def transfer(
    session: Session, name: str, root: Path, wanted: Mapping[str, tree.Face], say: Callable[[str], None]
) -> str:
    """Make the copy of this name hold these files of a folder; return where it lies.

    Args:
        say: Gets a line for people now and then, and one at the end.

    Raises:
        LostError: The connection broke; the next time goes on.
        SubmitError: A file cannot be read here, or written there, or one is asked for that is not among them.
    """
    progress = _Progress(say)
    body = json.dumps(wanted).encode()
    head, answer = session.ask({"ask": "sync", "name": name}, body)
    missing = _missing(answer, wanted, session.login)
    n_bytes = 0
    for done, path in enumerate(missing):
        n_bytes += _send(session, root / path, path)
        progress.tell(f"sync: {done + 1} of {len(missing)} files sent, {n_bytes / 1e6:.1f} MB")
    ended, _ = session.read()
    if ended["sent"] or ended["removed"]:
        told = f"{ended['sent']} of {len(wanted)} files sent ({n_bytes / 1e6:.1f} MB)"
        say(f"{root} -> {session.login}:{head['tree']}: {told}, {ended['removed']} removed")
    return str(head["tree"])


def _missing(answer: bytes, wanted: Mapping[str, tree.Face], login: str) -> list[str]:
    """Return the names that a host asks for: nothing else of this machine is for it to read."""
    try:
        asked = list(json.loads(answer))
        strange = [each for each, n in Counter(asked).items() if n > 1 or each not in wanted]
    except (ValueError, TypeError):
        asked, strange = [], [answer[:80]]
    if strange:
        expected = "names of the files that were offered, each once"
        wrong = "asks for what is not there to be sent"
        raise SubmitError(complaint(f"sync: {login}", wrong, got=strange[0], expected=expected))
    return asked


class _Progress:
    """Lines for people, not more than one in a while."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.last = time.monotonic()

    def tell(self, text: str) -> None:
        if time.monotonic() - self.last > _QUIET_S:
            self.say(text)
            self.last = time.monotonic()


def _send(session: Session, path: Path, shown: str) -> int:
    """Send a file; return its size."""
    n_bytes = 0
    try:
        # What has become a link or a pipe since the list was made leads nowhere else, and is not waited for.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise SubmitError(complaint(f"sync: {shown}", "is no longer a file"))
            changed = status.st_mtime_ns
            while True:
                data = file.read(_CHUNK_BYTES)
                n_bytes += len(data)
                session.send({"last": not data, "time": changed}, data)
                if not data:
                    return n_bytes
    except OSError as error:
        raise SubmitError(complaint(f"sync: {shown}", f"cannot be read: {error.strerror}")) from error


def name(root: Path, environ: Mapping[str, str]) -> str:
    """Return the name of a tree's copy: the tree's own, and what tells it from others of this name."""
    text = f"{machine(environ)}\0{root}".encode(errors="surrogateescape")
    safe = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in root.name)
    return f"{safe.strip('-')[:40] or 'tree'}-{hashlib.sha256(text).hexdigest()[:12]}"


def machine(environ: Mapping[str, str]) -> str:
    """Return what tells this user on this machine from every other one; made up once."""
    home.make(environ)
    path = home.home(environ) / _MACHINE
    try:
        files.create(path, os.urandom(16).hex().encode())
    except FileExistsError:
        pass
    except OSError as error:
        raise SubmitError(complaint(str(path), f"cannot be written: {error.strerror}")) from error
    return path.read_text()
