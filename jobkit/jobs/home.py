"""Where jobs live: the user's state folder."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from jobkit.env import home as env_home


def home(environ: Mapping[str, str], platform: str = sys.platform) -> Path:
    """Return the folder of everything that jobkit keeps for this user."""
    return Path(env_home.home(environ, platform))


def jobs(environ: Mapping[str, str]) -> Path:
    """Return the folder with one run folder, or a link to one, for each job."""
    return home(environ) / "jobs"


def make(environ: Mapping[str, str]) -> None:
    """Make the home and the folder of jobs, for this user's eyes only."""
    home(environ).mkdir(mode=0o700, parents=True, exist_ok=True)
    jobs(environ).mkdir(mode=0o700, exist_ok=True)
