"""JUnit reports: what continuous integration reads."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from jobkit.jobs import clock, exits, failure
from jobkit.jobs.record import CANCELLED, LOST, SUCCEEDED, RankRecord, Record, TaskRecord

# What XML 1.0 cannot hold, not even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def report(jobs: list[tuple[Path, Record]]) -> bytes:
    """Return a report with one suite a job, and one case a rank, or a point of a sweep.

    A program that failed is a failure, a job that was cancelled or lost an error; a rank that was ended
    because of another one is skipped. The text of the rank that failed first has its last lines, what the
    flight recorders say, and what to try. Where no rank failed first, as at a time limit, the job is a case.

    Args:
        jobs: Folder and record of each job or point.
    """
    suites = ElementTree.Element("testsuites", name="jobkit")
    for run_dir, known in jobs:
        _suite(suites, run_dir, known)
    for key in ("tests", "failures", "errors", "skipped"):
        suites.set(key, str(sum(int(suite.get(key, "0")) for suite in suites)))
    ElementTree.indent(suites)
    return bytes(ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)) + b"\n"


def _suite(suites: ElementTree.Element, run_dir: Path, known: Record) -> None:
    suite = ElementTree.SubElement(
        suites,
        "testsuite",
        name=_clean(known.name),
        timestamp=(known.started or known.created)[:19],
        time=_seconds(known.started, known.ended),
    )
    for task in known.tasks:
        if task.point is None:
            _ranks(suite, run_dir, known, task)
        else:
            _task(suite, run_dir, known, task)
    suite.set("tests", str(len(suite)))
    for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(key, str(len(suite.findall(f"testcase/{tag}"))))


def _ranks(suite: ElementTree.Element, run_dir: Path, known: Record, task: TaskRecord) -> None:
    """Add a case for each rank, and one for the job where its end is none of theirs."""
    first = task.exit.rank if task.exit and task.state != SUCCEEDED else None
    if not task.ranks or (task.state != SUCCEEDED and first is None):
        _task(suite, run_dir, known, task)
    for rank in task.ranks:
        case = _case(suite, known, f"{known.name}[rank {rank.rank}]", rank.started, rank.ended)
        if rank.rank == first:
            _explain(case, run_dir, known, task)
        elif skipped := _why_skipped(rank):
            ElementTree.SubElement(case, "skipped", message=_clean(skipped))
        elif rank.status:
            blamed = "" if rank.victim_of is None else f" (its error names rank {rank.victim_of})"
            message = exits.kind(rank.status, rank.signal) + blamed
            ElementTree.SubElement(case, "failure", type=task.state, message=_clean(message))


def _why_skipped(rank: RankRecord) -> str:
    if rank.ended_by_jobkit:
        return "ended with the job"
    return "" if rank.status is not None else "it has no end of its own"


def _task(suite: ElementTree.Element, run_dir: Path, known: Record, task: TaskRecord) -> None:
    values = ", ".join(f"{name}={value}" for name, value in task.values.items())
    name = known.name if task.point is None else f"{known.name}[{values or task.point}]"
    case = _case(suite, known, name, task.started, task.ended)
    if task.state != SUCCEEDED:
        _explain(case, run_dir, known, task)


def _case(
    suite: ElementTree.Element, known: Record, name: str, started: str | None, ended: str | None
) -> ElementTree.Element:
    about = {"classname": _clean(known.name), "name": _clean(name), "time": _seconds(started, ended)}
    return ElementTree.SubElement(suite, "testcase", about)


def _explain(case: ElementTree.Element, run_dir: Path, known: Record, task: TaskRecord) -> None:
    tag = "error" if task.state in (CANCELLED, LOST) else "failure"
    element = ElementTree.SubElement(case, tag, type=task.state, message=_clean(exits.explained(task)))
    why = failure.failure(run_dir, known, task)
    element.text = _clean("\n".join(failure.lines(why) if why else ()))


def _seconds(start: str | None, end: str | None) -> str:
    return f"{clock.seconds_between(start, end):.3f}" if start and end else "0.000"


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
