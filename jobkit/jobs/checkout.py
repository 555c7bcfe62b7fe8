"""The files that a job was submitted with, from the commit and the uncommitted changes in its record."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from jobkit.errors import SpecError, complaint

_TIMEOUT_S = 300.0


def restore(git: dict[str, Any], cwd: Path, workdir: Path, target: Path) -> Path | None:
    """Write the files into a new folder; return what is the job's working directory there.

    None where its working directory is not in the repository: nothing was recorded of it.

    Args:
        git: What `provenance.git` recorded.
        cwd: Where it was recorded.
        workdir: The job's working directory then.
        target: Does not exist yet.

    Raises:
        SpecError: Not all of it was recorded, or the repository does not have it any more.
    """
    root = Path(os.fsdecode(_git(("rev-parse", "--show-toplevel"), cwd)).rstrip("\n"))
    if not workdir.resolve().is_relative_to(root.resolve()):
        return None
    commit, diff = str(git["commit"]), str(git["diff"])
    if git["diff_truncated"]:
        raise _refusal("its uncommitted changes were too many to be recorded whole")
    if "\ufffd" in diff or "\nBinary files " in f"\n{diff}":
        raise _refusal("its uncommitted changes were not all text, and no others are recorded")
    _git(("cat-file", "-e", f"{commit}^{{commit}}"), root, f"the commit {commit} is not in {root} any more")
    index = {"GIT_INDEX_FILE": str(target.with_name(f"{target.name}.index"))}
    target.mkdir()
    _git(("read-tree", commit), root, more=index)
    _git(("checkout-index", "--all", f"--prefix={target}/"), root, more=index)
    if diff:
        # It looks for no repository around the folder, which would make it leave files out.
        outside = {"GIT_CEILING_DIRECTORIES": str(target.parent)}
        wrong = "its uncommitted changes do not fit its commit"
        _git(("apply", "--whitespace=nowarn", "-"), target, wrong, text=diff.encode(), more=outside)
    return target / workdir.resolve().relative_to(root.resolve())


def _refusal(wrong: str) -> SpecError:
    hint = "run it again as it is today, without --as-it-was; with `snapshot: true` a copy is kept"
    return SpecError(complaint("--as-it-was", wrong, hint=hint))


def _git(
    words: tuple[str, ...],
    folder: Path,
    wrong: str | None = None,
    *,
    text: bytes = b"",
    more: dict[str, str] | None = None,
) -> bytes:
    """Run git; return what it prints. `wrong` says what it means when it fails."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ("git", "-C", str(folder), *words)
    try:
        done = subprocess.run(
            command, env={**environ, **(more or {})}, input=text, capture_output=True, timeout=_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _refusal(f"git cannot be asked: {error}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise _refusal(f"{wrong or 'the repository cannot be read'}: {said}" if said else str(wrong))
    return done.stdout
