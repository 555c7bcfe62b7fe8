"""What a submitted job's run folder hands to its ranks where no agent does: variables, in private files.

A scheduler's own way would cut values at commas, or show them to everybody who can list the jobs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from jobkit.env import names
from jobkit.env.json_ import loads
from jobkit.env.start import DEFAULT_PATH
from jobkit.errors import LaunchError, complaint

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
    given = _read(f"{run_dir}/{ENVIRON}")
    task_dir = run_dir
    if point:
        task_dir = f"{run_dir}/{point}"
        own = _read(f"{task_dir}/{ENVIRON}") if os.path.exists(f"{task_dir}/{ENVIRON}") else {}
        given = {**given, **own, names.JOB: f"{given.get(names.JOB, '')}/{point}"}
    secrets = _read(f"{run_dir}/{SECRETS}") if os.path.exists(f"{run_dir}/{SECRETS}") else {}
    lost = [name for name, value in secrets.items() if value is None]
    if lost:
        raise LaunchError(complaint(f"{run_dir}/{SECRETS}", "erased, since the job has ended", got=lost[0]))
    here = os.path.dirname(sys.executable)
    path = given.get("PATH") or environ.get("PATH") or DEFAULT_PATH
    first = {} if path.split(":")[0] == here else {"PATH": f"{here}:{path}"}
    return {"PYTHONUNBUFFERED": "1", **environ, **given, **secrets, **first, names.RUN_DIR: task_dir}


def _read(path: str) -> dict[str, str]:
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
