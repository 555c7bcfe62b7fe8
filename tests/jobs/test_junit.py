from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from jobkit.jobs import folder, junit, record
from jobkit.jobs.record import JobExit, RankRecord, Record, TaskRecord

Make = Callable[..., Record]
T1, T2 = "2026-11-22T10:15:31.000000Z", "2026-11-22T10:15:33.500000Z"


def report(run_dir: Path, known: Record) -> ElementTree.Element:
    return ElementTree.fromstring(junit.report([(run_dir, record.settled(known))]))


def test_every_point_is_a_case_with_its_time(tmp_path: Path, make_record: Make) -> None:
    tasks = (
        TaskRecord("0", {"lr": "0.1"}, "succeeded", exit=JobExit(0), started=T1, ended=T2),
        TaskRecord("1", {"lr": "0.2"}, "timeout", "too long", exit=JobExit(124, kind="time limit"), ended=T2),
        TaskRecord("2", {"lr": "0.3"}, "cancelled", exit=JobExit(143, kind="cancelled"), ended=T2),
    )
    suites = report(tmp_path, make_record(tasks=tasks))
    suite = suites.find("testsuite")
    assert suite is not None
    assert [case.get("name") for case in suite] == ["digits[lr=0.1]", "digits[lr=0.2]", "digits[lr=0.3]"]
    assert [case.get("time") for case in suite] == ["2.500", "0.000", "0.000"]
    assert [[child.tag for child in case] for case in suite] == [[], ["failure"], ["error"]]
    assert (suites.get("tests"), suites.get("failures"), suites.get("errors")) == ("3", "1", "1")
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "time limit: too long"


def test_a_failure_holds_the_last_words_of_the_rank_even_if_they_are_no_xml(
    tmp_path: Path, make_record: Make
) -> None:
    path = folder.output(tmp_path, 1, 1, "err")
    path.parent.mkdir()
    path.write_bytes(b"\x1b[31m<bad> \xff\x00 ]]>\n")
    exit_ = JobExit(7, 1, "h", None, "exit 7")
    task = TaskRecord(None, {}, "failed", "rank 1 on h: exit 7", 1, exit_, started=T1, ended=T2)
    failure = report(tmp_path, make_record(tasks=(task,))).find("testsuite/testcase/failure")
    assert failure is not None
    assert failure.get("message") == "rank 1 on h: exit 7"
    assert failure.text is not None
    assert failure.text.splitlines() == [
        "last lines of standard error of rank 1:",
        "  \ufffd[31m<bad> \ufffd\ufffd ]]>",
    ]


def test_every_rank_is_a_case_and_what_was_ended_with_the_job_is_skipped(
    tmp_path: Path, make_record: Make
) -> None:
    ranks = (
        RankRecord(0, "h", 1, 143, "SIGTERM", ended_by_jobkit=True, started=T1, ended=T2),
        RankRecord(1, "h", 2, 7, started=T1, ended=T2),
        RankRecord(2, "h", 3, 1, victim_of=1, started=T1, ended=T2),
        RankRecord(3, "h", 4, 0, started=T1, ended=T2),
        RankRecord(4, "h", 5),
    )
    exit_ = JobExit(7, 1, "h", None, "exit 7")
    task = TaskRecord(None, {}, "failed", "rank 1 on h: exit 7", 1, exit_, ranks, started=T1, ended=T2)
    suites = report(tmp_path, make_record(tasks=(task,)))
    cases = suites.findall("testsuite/testcase")
    assert [case.get("name") for case in cases] == [f"digits[rank {rank}]" for rank in range(5)]
    told = [[(child.tag, child.get("message")) for child in case] for case in cases]
    assert told == [
        [("skipped", "ended with the job")],
        [("failure", "rank 1 on h: exit 7")],
        [("failure", "exit 1 (its error names rank 1)")],
        [],
        [("skipped", "it has no end of its own")],
    ]
    counts = [suites.get(key) for key in ("tests", "failures", "errors", "skipped")]
    assert counts == ["5", "2", "0", "2"]


def test_an_end_that_is_no_rank_s_is_a_case_of_the_job(tmp_path: Path, make_record: Make) -> None:
    exit_ = JobExit(124, kind="time limit")
    ranks = (RankRecord(0, "h", 1, 143, "SIGTERM", ended_by_jobkit=True),)
    task = TaskRecord(None, {}, "timeout", None, 1, exit_, ranks)
    cases = report(tmp_path, make_record(tasks=(task,))).findall("testsuite/testcase")
    assert [case.get("name") for case in cases] == ["digits", "digits[rank 0]"]
    assert [[child.tag for child in case] for case in cases] == [["failure"], ["skipped"]]


def test_several_jobs_are_several_suites(tmp_path: Path, make_record: Make) -> None:
    known = make_record(tasks=(TaskRecord(None, state="succeeded"),))
    suites = ElementTree.fromstring(junit.report([(tmp_path, known), (tmp_path, known)]))
    assert len(suites) == 2
    assert suites.get("tests") == "2"
