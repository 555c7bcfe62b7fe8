"""Where jobkit keeps what is this user's: jobs, tokens."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

HOME = "JOBKIT_HOME"
XDG_STATE_HOME = "XDG_STATE_HOME"


def home(environ: Mapping[str, str], platform: str = sys.platform) -> str:
    """Return the absolute folder of everything that jobkit keeps for this user.

    `$JOBKIT_HOME`; else `~/Library/Application Support/jobkit` on macOS, `$XDG_STATE_HOME/jobkit` or
    `~/.local/state/jobkit` elsewhere (https://specifications.freedesktop.org/basedir-spec).
    """
    if environ.get(HOME):
        return os.path.abspath(environ[HOME])
    user = environ.get("HOME") or os.path.expanduser("~")
    if platform == "darwin":
        return f"{user}/Library/Application Support/jobkit"
    state = environ.get(XDG_STATE_HOME, "")
    # The specification says that a relative path there is to be ignored.
    return (state if state.startswith("/") else f"{user}/.local/state") + "/jobkit"
