"""The files of a working tree: what git would take, and what each holds."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from jobkit.errors import SubmitError, complaint

# What is told of a path: "f", its executable bit, its digest; or "l", 0, where the link points.
Face = tuple[str, int, str]
_CHUNK_BYTES = 1 << 20
_GIT_S = 300.0  # for git to list a tree


def root(cwd: str) -> Path:
    """Return the top of the working tree around a folder: of its git repository, or the folder itself."""
    try:
        done = _asked(Path(cwd), "rev-parse", "--show-toplevel")
    except FileNotFoundError:
        return Path(cwd)
    return Path(os.fsdecode(done.stdout.rstrip(b"\n"))) if done.returncode == 0 else Path(cwd)


def manifest(root: Path, exclude: Path) -> dict[str, Face]:
    """Return what lies in a tree, by path.

    What .gitignore names is left out, tracked or not `.git` itself too; sockets, pipes, devices and empty
    folders as well. A link that points inside the tree points to the same place in a copy.

    Args:
        exclude: jobkit's own folder, which may lie in the tree.

    Raises:
        SubmitError: It cannot be read, or is no place to take as a whole.
    """
    if root in (Path("/"), Path.home().resolve(), Path.home()):
        hint = "submit from the folder of a project"
        raise SubmitError(complaint(f"sync: {root}", "everything below it would be sent", hint=hint))
    found: dict[str, Face] = {}
    try:
        for path in _paths(root):
            if exclude in (path, *path.parents):
                continue
            face = _face(path, root)
            if face is not None:
                found[str(path.relative_to(root))] = face
    except OSError as error:
        raise SubmitError(
            complaint(f"sync: {error.filename}", f"cannot be read: {error.strerror}")
        ) from error
    return found


def _face(path: Path, root: Path) -> Face | None:
    try:
        info = path.lstat()
    except (FileNotFoundError, NotADirectoryError):  # tracked, but removed
        return None
    if stat.S_ISLNK(info.st_mode):
        return "l", 0, _link(path, root)
    if not stat.S_ISREG(info.st_mode):
        return None
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(_CHUNK_BYTES):
            digest.update(data)
    return "f", int(bool(info.st_mode & 0o100)), digest.hexdigest()


def _link(path: Path, root: Path) -> str:
    """Return where a link points: one with an absolute path into the tree, relative to itself."""
    written = path.readlink()
    if written.is_absolute() and root in Path(os.path.normpath(written)).parents:
        return os.path.relpath(written, path.parent)
    return str(written)


def _paths(root: Path) -> Iterator[Path]:
    """Yield every path that belongs to the tree, without folders."""
    if _is_repository(root):
        yield from _listed(root)
        return
    every = list(_walked(root))
    if not any(path.name == ".gitignore" for path in every):
        yield from every
        return
    with tempfile.TemporaryDirectory() as empty:
        # An empty repository of one's own reads .gitignore as git does.
        _git(root, "init", "--quiet", "--bare", empty)
        words = ("-c", "core.bare=false", f"--git-dir={empty}", f"--work-tree={root}")
        yield from _listed(root, *words)


def _is_repository(folder: Path) -> bool:
    return os.path.lexists(folder / ".git")


def _listed(root: Path, *words: str) -> Iterator[Path]:
    listing = _git(root, *words, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in dict.fromkeys(listing.split(b"\0")):
        path = root / os.fsdecode(name)
        if not name:
            continue
        if path.is_dir() and not path.is_symlink():  # another repository: a submodule, or one that lies there
            yield from _paths(path)
        else:
            yield path


def _walked(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root, onerror=_raise):
        here = Path(folder)
        if here != root and _is_repository(here):
            folders.clear()
            yield from _paths(here)
            continue
        links = [name for name in folders if (here / name).is_symlink()]
        folders[:] = [name for name in folders if name not in (".git", *links)]
        yield from (here / name for name in (*files, *links) if name != ".git")


def _raise(error: OSError) -> None:
    raise error


def _git(root: Path, *words: str) -> bytes:
    try:
        done = _asked(root, *words)
    except FileNotFoundError as error:
        hint = "install git"
        raise SubmitError(complaint(f"sync: {root}", "needs git to read .gitignore", hint=hint)) from error
    if done.returncode:
        raise SubmitError(complaint(f"sync: {root}", f"git: {done.stderr.decode(errors='replace').strip()}"))
    return done.stdout


def _asked(folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Run git in a folder.

    Raises:
        FileNotFoundError: It is not installed.
        SubmitError: It does not end.
    """
    command = ("git", "-C", str(folder), *words)
    try:
        return subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_GIT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        wrong = f"git has not ended within {_GIT_S:.0f} s"
        hint = f"git -C {folder} status"
        raise SubmitError(complaint(f"sync: {folder}", wrong, hint=hint)) from error
