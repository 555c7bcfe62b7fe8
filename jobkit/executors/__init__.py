"""Executors: one module for each place where a job can run."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, cast

from jobkit.errors import SpecError, complaint
from jobkit.jobs.record import Origin
from jobkit.jobs.submission import Submission
from jobkit.plan import Plan

KNOWN = ("local", "slurm", "ssh")


class Executor(Protocol):
    """What a module of this folder offers."""

    def prepare(self, plan: Plan, job_id: str, spec_text: str, environ: Mapping[str, str]) -> Submission:
        """Return what would be sent; touches nothing."""

    def submit(self, submission: Submission, environ: Mapping[str, str], origin: Origin) -> Path:
        """Send it; return the job's run folder."""


def load(name: str) -> Executor:
    """Return the executor of this name.

    Raises:
        SpecError: There is none of this name.
    """
    if name not in KNOWN:
        raise SpecError(
            complaint("executor", "unknown name", got=name, expected=f"one of {', '.join(KNOWN)}")
        )
    return cast(Executor, importlib.import_module(f"jobkit.executors.{name}"))
