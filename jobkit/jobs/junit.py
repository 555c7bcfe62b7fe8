"""JUnit reports: what continuous integration reads."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from jobkit.jobs import clock, exits
from jobkit.jobs.last_words import last_words
from jobkit.jobs.record import CANCELLED, LOST, SUCCEEDED, Record, TaskRecord

# What XML 1.0 cannot hold, not even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def report(jobs: list[tuple[Path, Record]]) -> bytes:
    """Return a report with one suite a job and one case a task.

    A program that failed is a failure, a job that was cancelled or lost an error. The text holds the last
    lines of standard error of the rank that failed first, or of the script that started none.

    Args:
        jobs: Folder and record of each job or point.
    """
    suites = ElementTree.Element("testsuites", name="jobkit")
    for run_dir, known in jobs:
        _suite(suites, run_dir, known)
    totals = {
        key: sum(int(suite.get(key, "0")) for suite in suites) for key in ("tests", "failures", "errors")
    }
    suites.attrib.update({key: str(total) for key, total in totals.items()})
    ElementTree.indent(suites)
    return bytes(ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)) + b"\n"


def _suite(suites: ElementTree.Element, run_dir: Path, known: Record) -> None:
    failures = [task for task in known.tasks if task.state != SUCCEEDED]
    errors = [task for task in failures if task.state in (CANCELLED, LOST)]
    suite = ElementTree.SubElement(
        suites,
        "testsuite",
        name=_clean(known.name),
        timestamp=(known.started or known.created)[:19],
        time=_seconds(known.started, known.ended),
        tests=str(len(known.tasks)),
        failures=str(len(failures) - len(errors)),
        errors=str(len(errors)),
        skipped="0",
    )
    for task in known.tasks:
        _case(suite, run_dir, known, task)


def _case(suite: ElementTree.Element, run_dir: Path, known: Record, task: TaskRecord) -> None:
    values = ", ".join(f"{name}={value}" for name, value in task.values.items())
    name = known.name if task.point is None else f"{known.name}[{values or task.point}]"
    case = ElementTree.SubElement(
        suite,
        "testcase",
        classname=_clean(known.name),
        name=_clean(name),
        time=_seconds(task.started, task.ended),
    )
    if task.state != SUCCEEDED:
        tag = "error" if task.state in (CANCELLED, LOST) else "failure"
        element = ElementTree.SubElement(case, tag, type=task.state, message=_clean(exits.explained(task)))
        words = last_words(run_dir, task)
        element.text = _clean("\n".join(words.lines if words else ()))


def _seconds(start: str | None, end: str | None) -> str:
    return f"{clock.seconds_between(start, end):.3f}" if start and end else "0.000"


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
