from __future__ import annotations

import pytest

from jobkit.plan import Retries
from jobkit.slurm import again

SAID = "srun: got SIGCONT\nslurmstepd-a: error: *** JOB 7_2 ON a CANCELLED AT 2026-11-23T00:20:57{} ***\n"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (SAID.format(" DUE TO PREEMPTION"), "preempted"),
        (SAID.format(" DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS"), "node_failure"),
        (SAID.format(" DUE TO JOB REQUEUE"), "requeued"),
        (SAID.format(" DUE TO TIME LIMIT"), "time_limit"),
        (SAID.format(""), "cancelled"),
        ("slurmstepd-a: error: *** STEP 7.0 ON a CANCELLED AT 2026-11-23T00:21:25 ***\n", None),
        ("a program said: error: *** JOB 7 ON a CANCELLED AT 2026 DUE TO PREEMPTION ***\n", None),
        ("", None),
    ],
)
def test_what_slurm_says_has_ended_an_attempt(said: str, kind: str | None) -> None:
    assert again.told(said) == kind


def test_an_attempt_has_its_part_of_the_log() -> None:
    log = "jobkit: attempt 1\na\njobkit: attempt 2\nb\njobkit: attempt 3\nc\n"
    assert [again.section(log, number) for number in (1, 2, 3)] == ["a\n", "b\n", "c\n"]
    assert again.section("slurmstepd: a\n", 1) == "slurmstepd: a\n"


@pytest.mark.parametrize(
    ("kind", "earlier", "retries", "follows"),
    [
        ("preempted", [], Retries(preempted=1), True),
        ("preempted", ["preempted"], Retries(preempted=1), False),
        ("preempted", ["failed", "node_failure"], Retries(preempted=1), True),
        ("failed", [], Retries(preempted=5, node_failure=5), False),
        ("requeued", ["requeued"] * 9, Retries(failed=1), True),
        ("requeued", [], Retries(), False),
        ("cancelled", [], Retries(1, 1, 1), False),
        ("time_limit", [], Retries(1, 1, 1), False),
        (None, [], Retries(1, 1, 1), False),
    ],
)
def test_each_class_has_retries_of_its_own(
    kind: str | None, earlier: list[str | None], retries: Retries, follows: bool
) -> None:
    assert again.allowed(kind, earlier, retries) is follows
