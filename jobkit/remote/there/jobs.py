"""Submit, look at and cancel jobs here, with the jobkit that is installed here."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .frames import RefusedError
from .tree import home, locked

if TYPE_CHECKING:
    from jobkit.jobs.record import Record, TaskRecord

# What one answer carries of the ranks' output at most.
CHUNK_BYTES = 8 << 20
# How long it is remembered who submitted a job: far longer than anybody asks for its answer again.
_REMEMBERED_S = 7 * 86400
_USAGE = 2


def version() -> str | None:
    """Return the version of jobkit here, None where there is none."""
    try:
        import jobkit
    except ImportError:
        return None
    return getattr(jobkit, "__version__", None)


def take(package: str) -> str:
    """Let the jobkit of a folder be the one of this process, whatever is installed; return its version.

    Raises:
        RefusedError: It is not there any more.
    """
    if not Path(package, "jobkit", "__init__.py").is_file():
        raise RefusedError(f"{package}: jobkit, which was brought there, is not there any more")
    sys.path.insert(0, package)
    for name in [name for name in sys.modules if name.partition(".")[0] == "jobkit"]:
        del sys.modules[name]
    importlib.invalidate_caches()
    return str(version())


def call(job_id: str) -> Any:
    """Return where the keeper of a job is called by its other hosts."""
    return json.loads((_run_dir(job_id) / "call.json").read_bytes())


def submit(body: bytes) -> None:
    """Submit a job once, however often the same submission asks for it.

    Raises:
        RefusedError: A job of its id exists and is another submission's, or it was given up.
        JobkitError: It cannot be submitted.
    """
    from jobkit import executors
    from jobkit.jobs import plan_file

    asked = json.loads(body)
    environ = {**os.environ, **asked["environ"]}
    with _claimed(asked["id"], asked["token"]) as is_there:
        if is_there:
            return
        plan = plan_file.loads(asked["plan"])
        origin = _origin(asked["origin"])
        if "hosts" in asked:
            from jobkit.executors import ssh

            ssh.keep_here(plan, asked["id"], asked["spec"], asked["hosts"], environ, origin)
            return
        executor = executors.load(plan.executor)
        submission = executor.prepare(plan, asked["id"], asked["spec"], environ)
        executor.submit(submission, environ, origin)


def _origin(raw: dict[str, Any]) -> Any:
    """Return where the job comes from: the command line there, this process here."""
    from jobkit.jobs import process
    from jobkit.jobs.record import Origin

    listed = {key: tuple(raw[key]) for key in ("argv", "overrides", "args")}
    return Origin(**{**raw, **listed, "jobkit": version(), "submitter": process.identify(os.getpid())})


def _run_dir(job_id: str) -> Path:
    return home() / "jobs" / job_id


def _gone(token: str) -> str:
    return f"gone {token}"


@contextlib.contextmanager
def _claimed(job_id: str, token: str) -> Iterator[bool]:
    """Take an id for a submission; yield whether it has its job already."""
    with locked(_claim(job_id)) as fd:
        owner = os.read(fd, 4096).decode()
        if owner == _gone(token):
            raise RefusedError(f"job {job_id}: was given up before it was submitted")
        exists = os.path.lexists(_run_dir(job_id))
        if exists and owner != token:
            text = f"--id: a job of this id exists there, got {job_id!r}, expected a new id"
            raise RefusedError(text, _USAGE)
        _own(fd, token)
        yield exists


def _claim(job_id: str) -> Path:
    """Return the file that says which submission an id belongs to; old ones are removed."""
    folder = home() / "remote"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _REMEMBERED_S:
                path.unlink()
    return folder / job_id


def _own(fd: int, owner: str) -> None:
    os.ftruncate(fd, 0)
    os.pwrite(fd, owner.encode(), 0)


def _is_given_up(job_id: str, token: str) -> bool:
    """Make sure that a job that is not there is never submitted; return False when it is there now."""
    with locked(_claim(job_id)) as fd:
        if os.path.lexists(_run_dir(job_id)):
            return False
        _own(fd, _gone(token))
    return True


def cancel(job: str) -> None:
    """Ask for a job, or a point of one, to be cancelled."""
    from jobkit.jobs import cancel as cancelling
    from jobkit.jobs import find

    cancelling.request(find.one(job, os.environ))


class Looks:
    """What was told about jobs, so that only what is new is told again."""

    def __init__(self) -> None:
        self.told: dict[str, str] = {}
        self.sizes: dict[str, dict[str, int]] = {}
        self.finished: set[tuple[str, str | None, int]] = set()

    def look(self, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """Return a job's record, and what its ranks have written since the last look.

        Args:
            head: The job's `id`; the `token` of its submission.
            body: With the first look, the sizes of the files that are known, as JSON.
        """
        job_id, run_dir = head["id"], _run_dir(head["id"])
        if body:
            self.sizes[job_id] = json.loads(body)
            self.told.pop(job_id, None)
            self.finished = {key for key in self.finished if key[0] != job_id}
        is_gone = not os.path.lexists(run_dir)
        if is_gone and _is_given_up(job_id, head["token"]):
            return {"record": None}, b""
        known = _known(run_dir.resolve())
        changed = self._changed(known)
        files, data = self._news(run_dir, known)
        return {"record": changed, "files": files, "more": len(data) >= CHUNK_BYTES}, data

    def _changed(self, known: Record) -> str | None:
        """Return the text of a record, "" when it was told before."""
        from jobkit.jobs import record

        text = record.dumps(known)
        if self.told.get(known.id) == text:
            return ""
        self.told[known.id] = text
        return text

    def _news(self, run_dir: Path, known: Record) -> tuple[list[list[Any]], bytes]:
        """Return [path, offset, size] of parts of files, and their bytes."""
        sizes = self.sizes.setdefault(known.id, {})
        files: list[list[Any]] = []
        data = bytearray()
        for path in self._paths(run_dir, known):
            if len(data) >= CHUNK_BYTES:
                break
            name = str(path.relative_to(run_dir))
            part, offset = _part(path, sizes.get(name, 0), CHUNK_BYTES - len(data))
            if part:
                files.append([name, offset, len(part)])
                data += part
                sizes[name] = offset + len(part)
        return files, bytes(data)

    def _paths(self, run_dir: Path, known: Record) -> Iterator[Path]:
        """Yield the files that may have grown; those of an attempt that is over for the last time."""
        yield from sorted(run_dir.glob("slurm-*.log"))
        for task in known.tasks:
            for attempt in range(1, task.attempt + 1):
                key = (known.id, task.point, attempt)
                if key in self.finished:
                    continue
                yield from _files(run_dir, task, attempt)
                if _is_over(task, attempt) and not self._has_more(run_dir, known, task, attempt):
                    self.finished.add(key)

    def _has_more(self, run_dir: Path, known: Record, task: TaskRecord, attempt: int) -> bool:
        sizes = self.sizes[known.id]
        files = _files(run_dir, task, attempt)
        return any(path.stat().st_size != sizes.get(str(path.relative_to(run_dir)), 0) for path in files)


def _known(run_dir: Path) -> Record:
    from jobkit.jobs import record, truth

    try:
        return truth.look(run_dir)
    except record.UnreadableError as error:
        raise RefusedError(str(error)) from error


def _files(run_dir: Path, task: TaskRecord, attempt: int) -> list[Path]:
    folder = (run_dir if task.point is None else run_dir / task.point) / f"attempt-{attempt}"
    return sorted([*folder.glob("rank-*.out"), *folder.glob("rank-*.err"), *folder.glob("[!.]*.exit.json")])


def _is_over(task: TaskRecord, attempt: int) -> bool:
    return attempt < task.attempt or task.ended is not None


def _part(path: Path, known: int, limit: int) -> tuple[bytes, int]:
    """Return what is new of a file, and where it begins; a record that was replaced is new as a whole."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == known:
                return b"", known
            offset = 0 if path.suffix == ".json" or size < known else known
            file.seek(offset)
            return file.read(limit), offset
    except FileNotFoundError:
        return b"", known
