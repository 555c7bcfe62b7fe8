"""What a submitted job's run folder hands to its ranks where no agent does: variables, in private files.

A scheduler's own way would cut values at commas, or show them to everybody who can list the jobs.
"""

from __future__ import annotations

import os
import sys

from jobkit.env import names
from jobkit.env.json_ import loads
from jobkit.env.start import DEFAULT_PATH
from jobkit.errors import LaunchError, complaint

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

ENVIRON = "environ.json"
SECRETS = "secrets"


def taken(environ: Mapping[str, str], run_dir: str, point: str = "") -> dict[str, str]:
    """Return an environment with what the run folder adds; the interpreter's folder comes first on PATH.

    Args:
        environ: What is inherited.
        run_dir: The run folder of the job.
        point: Of a sweep, whose folder in the run folder holds the variables that are its own; "" without.

    Raises:
        LaunchError: The folder is not here, or its files are not what was written.
    """
    task_dir = task_folder(run_dir, point)
    given = _read(f"{run_dir}/{ENVIRON}")
    if point and os.path.exists(f"{task_dir}/{ENVIRON}"):
        given |= _read(f"{task_dir}/{ENVIRON}")
    secrets = _read(f"{run_dir}/{SECRETS}") if os.path.exists(f"{run_dir}/{SECRETS}") else {}
    lost = [name for name, value in secrets.items() if value is None]
    if lost:
        raise LaunchError(complaint(f"{run_dir}/{SECRETS}", "erased, since the job has ended", got=lost[0]))
    found = {"PYTHONUNBUFFERED": "1", **_set_up(environ, task_dir), **given, **secrets}
    return found | {"PATH": search_path(found.get("PATH", ""))} | identity(run_dir, point)


def task_folder(run_dir: str, point: str) -> str:
    """Return the folder of a job, or of a point of a sweep."""
    return f"{run_dir}/{point}" if point else run_dir


def identity(run_dir: str, point: str) -> dict[str, str]:
    """Return the variables that say which job, or point of a sweep, a process is for.

    Raises:
        LaunchError: The folder is not here, or its files are not what was written.
    """
    job = _read(f"{run_dir}/{ENVIRON}").get(names.JOB, "")
    return {names.JOB: f"{job}/{point}" if point else job, names.RUN_DIR: task_folder(run_dir, point)}


def search_path(path: str) -> str:
    """Return a PATH on which this interpreter's folder comes first."""
    here, path = os.path.dirname(sys.executable), path or DEFAULT_PATH
    return path if path.split(":")[0] == here else f"{here}:{path}"


def setup_file(environ: Mapping[str, str], task_dir: str) -> str:
    """Return where `setup` leaves what it changed on this node."""
    node = environ.get("SLURMD_NODENAME") or os.uname().nodename
    return f"{task_dir}/attempt-{environ.get(names.ATTEMPT) or 1}/setup-{node}.json"


def _set_up(environ: Mapping[str, str], task_dir: str) -> dict[str, str]:
    """Return an environment with the changes of the `setup` lines, where the job has some."""
    path = setup_file(environ, task_dir)
    if not os.path.exists(path):
        return dict(environ)
    changes = _read(path)
    kept = {name: value for name, value in environ.items() if name not in changes["unset"]}
    kept.update(changes["set"])
    return kept


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            found = loads(file.read())
    except OSError as error:
        host = os.uname().nodename
        hint = "set run_dir (or JOBKIT_HOME) to a folder on a file system that all nodes share"
        raise LaunchError(
            complaint(path, f"cannot be read on {host} ({error.strerror})", hint=hint)
        ) from error
    except ValueError as error:
        raise LaunchError(complaint(path, f"not what was written there: {error}")) from error
    if not isinstance(found, dict):
        raise LaunchError(complaint(path, "not what was written there", expected="a mapping"))
    return found
