"""Make room for a job here: its folder, with a copy of the working tree that was sent."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from .frames import RefusedError
from .launch import seen
from .tree import home, locked

TREE = "tree"
_OWNER, _LOCK = "submission", ".lock"
_USAGE = 2


def make(head: dict[str, Any]) -> dict[str, Any]:
    """Make a job's folder, once for each submission; return where things are.

    Args:
        head: The job's `id`; the `token` of its submission; the `tree` whose copy it gets, None without;
            `inside`, where ranks start in that copy, or `workdir`, where they start otherwise.

    Raises:
        RefusedError: Another submission has the id, or ranks cannot start there.
    """
    runs = home() / "runs"
    runs.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = runs / head["id"]
    with locked(runs / _LOCK):
        if not folder.exists():
            _fill(folder, head)
        elif (folder / _OWNER).read_text() != head["token"]:
            text = f"--id: a job of this id exists there, got {head['id']!r}, expected a new id"
            raise RefusedError(text, _USAGE)
    workdir = _start(str(folder / TREE / head["inside"]) if head["tree"] else head["workdir"])
    if not workdir.is_dir() or not os.access(workdir, os.X_OK):
        wrong = "cannot be entered there" if workdir.exists() else "is not there"
        raise RefusedError(f"workdir {workdir}: {wrong}")
    about = seen(dict(os.environ))
    name = {"name": about["host"], "address": about["address"]}
    return {**name, "run_dir": str(folder), "workdir": str(workdir)}


def _fill(folder: Path, head: dict[str, Any]) -> None:
    new = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        (new / _OWNER).write_text(head["token"])
        if head["tree"]:
            _copy(home() / "trees" / head["tree"], new / TREE)
        new.rename(folder)
    except OSError as error:
        shutil.rmtree(new, ignore_errors=True)
        raise RefusedError(f"{error.filename or folder}: cannot be written: {error.strerror}") from error


def _copy(tree: Path, target: Path) -> None:
    """Copy what was sent of a tree, and nothing that lies beside it."""
    target.mkdir()
    with locked(tree.with_name(f"{tree.name}.lock")):
        for path in json.loads(tree.with_name(f"{tree.name}.json").read_bytes()):
            place = target / path
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tree / path, place, follow_symlinks=False)


def see(workdir: str | None) -> dict[str, Any]:
    """Return what a job would find here; nothing is written.

    Args:
        workdir: Where ranks would start; None where a folder is made for them.
    """
    above = next(folder for folder in (home(), *home().parents) if folder.is_dir())
    is_there = None if workdir is None else os.access(_start(workdir), os.X_OK) and _start(workdir).is_dir()
    can = os.access(above, os.W_OK | os.X_OK)
    return {"home": str(home()), "writable": can, "free": shutil.disk_usage(above).free, "workdir": is_there}


def _start(workdir: str) -> Path:
    """Return a folder as an absolute path; a relative one starts from the login's own."""
    return Path(os.path.normpath(Path(workdir).expanduser().absolute()))


def outpost(head: dict[str, Any], body: bytes) -> dict[str, Any]:
    """Start what calls the keeper of a job on its first host, and outlives this connection.

    Args:
        head: The job's `id`; `words` for the interpreter.
        body: What it reads from its standard input: whom to call, and what is nobody else's.

    Raises:
        RefusedError: It does not reach the keeper.
    """
    log = home() / "runs" / head["id"] / "outpost.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, *head["words"]],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(body)
        process.stdin.close()
    if not process.stdout.read(1):  # it has called, or it has ended
        words = log.read_text(errors="replace").strip() or f"ended with status {process.wait()}"
        raise RefusedError(words)
    return {}


def forget(job_id: str, token: str) -> None:
    """Remove the folder of a job that is not to be."""
    folder = home() / "runs" / job_id
    try:
        is_ours = (folder / _OWNER).read_text() == token
    except OSError:
        return
    if is_ours:
        shutil.rmtree(folder, ignore_errors=True)
