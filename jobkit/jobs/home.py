"""Where jobs live: the user's state folder."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

HOME = "JOBKIT_HOME"
XDG_STATE_HOME = "XDG_STATE_HOME"


def home(environ: Mapping[str, str], platform: str = sys.platform) -> Path:
    """Return the folder of everything that jobkit keeps for this user.

    `$JOBKIT_HOME`; else `~/Library/Application Support/jobkit` on macOS, `$XDG_STATE_HOME/jobkit` or
    `~/.local/state/jobkit` elsewhere (https://specifications.freedesktop.org/basedir-spec).
    """
    if environ.get(HOME):
        return Path(environ[HOME]).absolute()
    user = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    if platform == "darwin":
        return user / "Library" / "Application Support" / "jobkit"
    state = environ.get(XDG_STATE_HOME, "")
    # The specification says that a relative path there is to be ignored.
    return (Path(state) if state.startswith("/") else user / ".local" / "state") / "jobkit"


def jobs(environ: Mapping[str, str]) -> Path:
    """Return the folder with one run folder, or a link to one, for each job."""
    return home(environ) / "jobs"


def make(environ: Mapping[str, str]) -> None:
    """Make the home and the folder of jobs, for this user's eyes only."""
    home(environ).mkdir(mode=0o700, parents=True, exist_ok=True)
    jobs(environ).mkdir(mode=0o700, exist_ok=True)
