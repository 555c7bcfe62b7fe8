"""GitHub Actions: how jobs ended, as annotations of the specs and in the summary of the step.

Source: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from jobkit.cli import talk
from jobkit.jobs import clock, exits, failure
from jobkit.jobs.record import CANCELLED, ENDED, SUCCEEDED, Record, TaskRecord

_ON, _WORKSPACE, _SUMMARY = "GITHUB_ACTIONS", "GITHUB_WORKSPACE", "GITHUB_STEP_SUMMARY"
# GitHub shows no more annotations of a step, and takes no summary above 1 MiB.
_MOST_FAILURES = 10
_COMPLAINTS = re.compile(r"\n(?!\n|hint:)")  # a line each; a hint stays with its own
_PLACE = re.compile(r"(.+?):(\d+): (.*)", re.DOTALL)  # of a complaint about a spec


def is_on(environ: Mapping[str, str]) -> bool:
    """Return whether this command runs in a step of a workflow."""
    return environ.get(_ON) == "true"


def report(jobs: list[tuple[Path, Record]], environ: Mapping[str, str]) -> None:
    """Annotate what failed, and add the jobs to the summary of the step; nothing outside of a workflow.

    Annotations go to standard error, which GitHub reads as well: standard output is data.

    Args:
        jobs: Folder and record of each job or point that was waited for.
        environ: Of this process.
    """
    if not is_on(environ):
        return
    failed = [(run_dir, known, task) for run_dir, known in jobs for task in known.tasks if _failed(task)]
    for run_dir, known, task in failed[:_MOST_FAILURES]:
        talk.say(annotation(run_dir, known, task, environ))
    if environ.get(_SUMMARY):
        _append(environ[_SUMMARY], "\n".join(_summary(jobs, failed)))


def refused(message: str, environ: Mapping[str, str]) -> None:
    """Annotate what is wrong with specs, or kept them from being submitted: a complaint at its line."""
    if not is_on(environ):
        return
    for complaint in _COMPLAINTS.split(message)[:_MOST_FAILURES]:
        place = _PLACE.match(complaint)
        where = {"file": _relative(place[1], environ), "line": place[2]} if place else {}
        talk.say(command("error", {**where, "title": "jobkit"}, place[3] if place else complaint))


def _failed(task: TaskRecord) -> bool:
    return task.state in ENDED and task.state != SUCCEEDED


def annotation(run_dir: Path, known: Record, task: TaskRecord, environ: Mapping[str, str]) -> str:
    """Return the command that marks a spec with how one of its tasks ended."""
    why = failure.failure(run_dir, known, task)
    source = known.origin.source  # none where another launcher started the job
    where = {"file": _relative(str(Path(known.origin.cwd, source)), environ)} if source else {}
    title = f"{_name(known, task)} {task.state}: {exits.explained(task)}"
    level = "warning" if task.state == CANCELLED else "error"
    text = "\n".join(failure.lines(why) if why else ()) or title
    return command(level, {**where, "title": title}, text)


def command(name: str, properties: Mapping[str, str], message: str) -> str:
    """Return a command to the runner, on one line.

    >>> command("error", {"title": "a: 1, 2"}, "50%\\nlost")
    '::error title=a%3A 1%2C 2::50%25%0Alost'
    """
    given = ",".join(f"{key}={_escaped(value, ':,')}" for key, value in properties.items())
    return f"::{name} {given}::{_escaped(message)}"


def _escaped(text: str, more: str = "") -> str:
    for letter in "%\r\n" + more:  # the sign of escapes first
        text = text.replace(letter, f"%{ord(letter):02X}")
    return text


def _relative(path: str, environ: Mapping[str, str]) -> str:
    """Return a path from the root of the repository, as annotations have them, if it is in there."""
    root, whole = Path(environ.get(_WORKSPACE, "/")), Path(path).absolute()
    return str(whole.relative_to(root)) if environ.get(_WORKSPACE) and whole.is_relative_to(root) else path


def _name(known: Record, task: TaskRecord) -> str:
    return known.name if task.point is None else f"{known.name}/{task.point}"


# --- the summary


def _summary(jobs: list[tuple[Path, Record]], failed: list[tuple[Path, Record, TaskRecord]]) -> Iterator[str]:
    good = sum(known.state == SUCCEEDED for _, known in jobs)
    yield f"### jobkit: {good} of {len(jobs)} job{'s' if len(jobs) != 1 else ''} succeeded\n"
    yield "| job | id | state | ranks | seconds | how it ended |\n| --- | --- | --- | --- | --- | --- |"
    for _, known in jobs:
        yield _row(known)
    for run_dir, known, task in failed[:_MOST_FAILURES]:
        why = failure.failure(run_dir, known, task)
        text = "\n".join(failure.lines(why) if why else ())
        if text:
            yield f"\n**{cell(_name(known, task))}**: {cell(exits.explained(task))}\n\n{fenced(text)}"
    if len(failed) > _MOST_FAILURES:
        yield f"\nand {len(failed) - _MOST_FAILURES} more that did not succeed"
    yield ""


def _row(known: Record) -> str:
    n_ranks = sum(len(task.ranks) for task in known.tasks)
    took = clock.seconds_between(known.started, known.ended) if known.started and known.ended else 0.0
    how = known.reason or (exits.told(known.exit) if known.exit else "")
    cells = (known.name, known.id, known.state, str(n_ranks), f"{took:.1f}", how)
    return f"| {' | '.join(map(cell, cells))} |"


def cell(text: str) -> str:
    """Return a text that means nothing to Markdown, on one line.

    >>> print(cell("a|b\\n<i>"))
    a\\|b \\<i\\>
    """
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", " ".join(text.split()))


def fenced(text: str) -> str:
    """Return a block that shows a text as it is, whatever is in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _append(path: str, text: str) -> None:
    try:
        with Path(path).open("a", encoding="utf-8", errors="replace") as file:
            file.write(f"{text}\n")
    except OSError as error:
        talk.warn(f"{_SUMMARY} {path}: cannot be written ({error.strerror})")
