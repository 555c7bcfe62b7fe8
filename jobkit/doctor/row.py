"""What is asked of the doctor, and one row of its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jobkit.jobs.submission import Submission
from jobkit.plan import Plan

OK, WARNING, FAILS, SKIPPED = "ok", "warning", "fails", "skipped"


@dataclass(frozen=True)
class Question:
    """What the checks are about.

    Attributes:
        environ: The environment that a job would be submitted from.
        plan: What a spec means here, None without a spec.
        submission: What would be sent, None without a spec.
        may_run: Whether a short job may be started to look at a node.
    """

    environ: Mapping[str, str]
    plan: Plan | None = None
    submission: Submission | None = None
    may_run: bool = True

    @property
    def slurm(self) -> Plan | None:
        """The plan, if it is for Slurm from this machine."""
        is_slurm = self.plan and self.plan.executor == "slurm" and self.plan.slurm.login is None
        return self.plan if is_slurm else None


@dataclass(frozen=True)
class Row:
    """One check.

    Attributes:
        check: What was looked at.
        state: OK, WARNING, FAILS or SKIPPED.
        found: What is there.
        remedy: One action, "" where nothing is to be done.
    """

    check: str
    state: str
    found: str
    remedy: str = ""
