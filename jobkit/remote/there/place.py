"""Make room for a job here: its folder, with a copy of the working tree that was sent."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from .frames import RefusedError
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
    # A relative one starts from the login's own folder.
    given = folder / TREE / head["inside"] if head["tree"] else Path(head["workdir"]).expanduser()
    workdir = Path(os.path.normpath(given.absolute()))
    if not workdir.is_dir() or not os.access(workdir, os.X_OK):
        wrong = "cannot be entered there" if workdir.exists() else "is not there"
        raise RefusedError(f"workdir {workdir}: {wrong}")
    return {"run_dir": str(folder), "workdir": str(workdir)}


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


def forget(job_id: str, token: str) -> None:
    """Remove the folder of a job that is not to be."""
    folder = home() / "runs" / job_id
    try:
        is_ours = (folder / _OWNER).read_text() == token
    except OSError:
        return
    if is_ours:
        shutil.rmtree(folder, ignore_errors=True)
