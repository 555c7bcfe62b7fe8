"""The commit and the uncommitted changes that a job was submitted from."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

# A record is rewritten at each change of state, so what it carries is bounded.
DIFF_BYTES = 64 * 1024
_TIMEOUT_S = 10.0


def git(folder: Path) -> dict[str, Any] | None:
    """Return {commit, branch, diff, diff_truncated} of the repository around a folder.

    None when it is in none, git is not installed, or git does not answer within ten seconds. The diff is
    against the commit and without files that are not added; beyond 64 KiB it is cut.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    branch = _git(folder, "symbolic-ref", "--short", "--quiet", "HEAD")
    diff = _git(folder, "diff", "HEAD", "--no-color", "--no-ext-diff") or b""
    return {
        "commit": commit.decode().strip(),
        "branch": branch.decode().strip() if branch else None,
        "diff": diff[:DIFF_BYTES].decode(errors="replace"),
        "diff_truncated": len(diff) > DIFF_BYTES,
    }


def _git(folder: Path, *args: str) -> bytes | None:
    command = ("git", "-C", str(folder), *args)
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_TIMEOUT_S)
    except (FileNotFoundError, PermissionError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
