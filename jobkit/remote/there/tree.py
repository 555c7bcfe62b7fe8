"""Make a folder here equal to a working tree elsewhere, and leave alone what else lies in it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from .frames import RefusedError
from .home import home as _home

# What a manifest says of a path: "f", its executable bit, its digest; or "l", 0, where the link points.
Face = list[Any]
# Of a path that was written here: its face, and size and time of change as they were then.
Kept = dict[str, list[Any]]


class Peer(Protocol):
    """Who sends the tree."""

    def read(self) -> tuple[dict[str, Any], bytes]:
        """Return the next frame."""

    def send(self, head: dict[str, Any], body: bytes = b"") -> None:
        """Write a frame."""


def home() -> Path:
    """Return the folder of everything that jobkit keeps for this user here."""
    return Path(_home(os.environ))


def receive(peer: Peer, name: str, manifest: bytes) -> None:
    """Take over a tree: tell what is missing here, read it, put it in place, remove what has gone there."""
    wanted: dict[str, Face] = json.loads(manifest)
    for path in wanted:
        check(path)
    trees = home() / "trees"
    trees.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(trees / f"{name}.lock"):
        root, state = trees / name, trees / f"{name}.json"
        root.mkdir(mode=0o700, exist_ok=True)
        for left in trees.glob(f".{name}.*"):  # of one that was killed
            shutil.rmtree(left, ignore_errors=True)
        kept = _read(state)
        missing = [path for path, face in wanted.items() if not is_there(root, path, face, kept.get(path))]
        sent = [path for path in missing if wanted[path][0] == "f"]
        peer.send({"tree": str(root)}, json.dumps(sent).encode())
        incoming = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=trees))
        try:
            _take(peer, incoming, sent, wanted)
            gone = [path for path in kept if path not in wanted]
            try:
                _write(state, {**{path: [face, None] for path, face in wanted.items()}, **kept})
                _remove(root, gone)
                contents = {path: incoming / str(index) for index, path in enumerate(sent)}
                for path in missing:
                    _put(root, path, wanted[path], contents.get(path))
                _write(state, {path: [face, _stamp(root / path)] for path, face in wanted.items()})
            except OSError as error:
                raise _refusal(error, root) from error
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
    peer.send({"sent": len(missing), "removed": len(gone)})


def check(path: str) -> None:
    """Refuse a path that does not stay in the tree."""
    if not path or path.startswith("/") or "\0" in path or {"", ".", ".."} & set(path.split("/")):
        raise RefusedError(f"sync: {path!r} is no path in a tree")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold a lock while the block runs; where the file system has no locks, none."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
        yield fd
    finally:
        os.close(fd)


def is_there(root: Path, path: str, face: Face, kept: list[Any] | None) -> bool:
    """Tell whether a path is as it should be: sent before, and not changed here since."""
    return kept is not None and kept[0] == face and kept[1] is not None and kept[1] == _stamp(root / path)


def _stamp(path: Path) -> list[Any] | None:
    """Return what changes when somebody writes here; None for nothing, and what is no file or link."""
    try:
        found = path.lstat()
    except OSError:
        return None
    if stat.S_ISLNK(found.st_mode):
        return ["l", str(path.readlink())]
    if not stat.S_ISREG(found.st_mode):
        return None
    return ["f", found.st_size, found.st_mtime_ns, bool(found.st_mode & 0o100)]


def _take(peer: Peer, incoming: Path, sent: list[str], wanted: dict[str, Face]) -> None:
    """Read files into a folder, under their numbers."""
    for index, path in enumerate(sent):
        digest = hashlib.sha256()
        try:
            with (incoming / str(index)).open("wb") as file:
                while True:
                    head, data = peer.read()
                    digest.update(data)
                    file.write(data)
                    if head["last"]:
                        break
        except OSError as error:
            raise _refusal(error, incoming.parent) from error
        _, is_executable, expected = wanted[path]
        if digest.hexdigest() != expected:
            raise RefusedError(f"sync: {path} changed while it was sent\n\nhint: submit again")
        (incoming / str(index)).chmod(0o755 if is_executable else 0o644)
        os.utime(incoming / str(index), ns=(head["time"], head["time"]))


def _refusal(error: OSError, where: Path) -> RefusedError:
    return RefusedError(f"sync: {error.filename or where}: cannot be written: {error.strerror}")


def _remove(root: Path, gone: list[str]) -> None:
    """Remove what was sent once, and the folders that this leaves empty."""
    for path in gone:
        if not _has_real_parents(root, path):
            continue
        with contextlib.suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError):
            (root / path).unlink()
        for parent in list(Path(path).parents)[:-1]:
            try:
                (root / parent).rmdir()
            except OSError:
                break


def _has_real_parents(root: Path, path: str) -> bool:
    """Tell whether a path leads through folders alone, and so stays in the tree."""
    return not any((root / parent).is_symlink() for parent in Path(path).parents)


def _put(root: Path, path: str, face: Face, content: Path | None) -> None:
    """Put a file or a link in its place; what was there is replaced, a folder only if it is empty."""
    for parent in reversed(list(Path(path).parents)[:-1]):
        folder = root / parent
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            folder.unlink()
        folder.mkdir(mode=0o755, exist_ok=True)
    place = root / path
    if place.is_dir() and not place.is_symlink():
        try:
            place.rmdir()
        except OSError as error:
            text = f"sync: {place}: a folder with files of its own there, and a file here"
            raise RefusedError(f"{text}\n\nhint: remove it there") from error
    if face[0] == "f":
        assert content is not None, "a file has content"
        content.replace(place)
        return
    with contextlib.suppress(FileNotFoundError):
        place.unlink()
    place.symlink_to(face[2])


def _read(state: Path) -> Kept:
    """Return what was sent before; nothing where that is not known."""
    try:
        return dict(json.loads(state.read_bytes()))
    except (OSError, ValueError):
        return {}


def _write(state: Path, kept: Kept) -> None:
    new = state.with_suffix(".new")
    new.write_text(json.dumps(kept))
    new.replace(state)
