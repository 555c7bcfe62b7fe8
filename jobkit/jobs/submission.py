"""What is sent for a job: pure data, which a dry run prints and `submit` takes as it is."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

AFTER_PLACEMENT = "<after placement>"
SECRET = "<secret>"
BY_POINT = "<by sweep point>"


@dataclass(frozen=True)
class File:
    """A file of the run folder.

    Attributes:
        path: Relative to the run folder.
        mode: Its permissions.
        text: Its content; None for the secrets, which are taken from the environment when it is written.
    """

    path: str
    mode: int
    text: str | None


@dataclass(frozen=True)
class Submission:
    """Everything that is sent.

    Attributes:
        run_dir: The job's run folder, absolute.
        files: What is written into it.
        command: What is started, or sent to the scheduler.
        environ: What the spec sets for the job (env and forward). None for what is not in the text: a
            secret, or a variable of `env` that differs between the points of a sweep.
        secrets: The names in `environ` whose values are secret.
        after_placement: What the shim sets once the ranks have places.
        snapshot: The folder that is copied to `run_dir`/snapshot, None without `snapshot: true`.
        notes: What its user should know, for stderr.
        synced: The working tree here, and where a copy of it is made first; None where none is.
    """

    job_id: str
    name: str
    executor: str
    run_dir: str
    files: tuple[File, ...]
    command: tuple[str, ...]
    environ: dict[str, str | None]
    secrets: tuple[str, ...] = ()
    after_placement: tuple[str, ...] = ()
    snapshot: str | None = None
    notes: tuple[str, ...] = ()
    synced: tuple[str, str] | None = None

    def __str__(self) -> str:
        """Render the dry run for people."""
        head = f"job {self.job_id}\nexecutor {self.executor}\nrun folder {self.run_dir}"
        if self.snapshot is not None:
            head += f"\nsnapshot {self.snapshot} -> {self.run_dir}/snapshot"
        if self.synced is not None:
            head += f"\nsync {' -> '.join(self.synced)}"
        parts = [head, *map(self._file, self.files)]
        parts.append("\n".join(("== environment", *self._variables())))
        parts.append(f"== command\n{shlex.join(self.command)}")
        return "\n\n".join(parts) + "\n"

    def _file(self, file: File) -> str:
        text = "\n".join(f"{name}={SECRET}" for name in self.secrets) if file.text is None else file.text
        return f"== {file.path} ({file.mode:04o})\n{text.rstrip()}"

    def _variables(self) -> list[str]:
        lines = [f"{name}={self._shown(name, value)}" for name, value in self.environ.items()]
        return lines + [f"{name}={AFTER_PLACEMENT}" for name in self.after_placement]

    def _shown(self, name: str, value: str | None) -> str:
        if value is None:
            return SECRET if name in self.secrets else BY_POINT
        if value.isprintable():
            return value
        return shlex.quote(value.encode(errors="backslashreplace").decode())


def to_json(submission: Submission) -> dict[str, Any]:
    """Return the dry run for programs; null is what is secret or not known yet."""
    return {
        "id": submission.job_id,
        "name": submission.name,
        "executor": submission.executor,
        "run_dir": submission.run_dir,
        "snapshot": submission.snapshot,
        "sync": submission.synced,
        "files": [
            {"path": file.path, "mode": f"{file.mode:04o}", "text": file.text} for file in submission.files
        ],
        "environment": {**submission.environ, **dict.fromkeys(submission.after_placement)},
        "command": list(submission.command),
    }
