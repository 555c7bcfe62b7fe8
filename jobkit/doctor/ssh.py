"""Checks of the hosts of a spec for `executor: ssh`: that each can be had, and has what the job needs."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import jobkit
from jobkit.doctor.row import FAILS, OK, SKIPPED, WARNING, Question, Row
from jobkit.errors import JobkitError
from jobkit.plan import Plan

_LITTLE_BYTES = 1 << 30


def checks(question: Question) -> Iterator[Row]:
    """Yield a row for each host; nothing for specs of other executors."""
    plan = question.plan
    if plan is None or plan.executor != "ssh":
        return
    if not question.may_run:
        yield Row("hosts", SKIPPED, "--no-run: no host was asked")
        return
    from jobkit.remote import arrival

    hosts = plan.ssh.hosts
    found = arrival.in_turns(lambda node: list(rows(plan, hosts[node])), range(len(hosts)))
    for host, answer in zip(hosts, found, strict=True):
        if isinstance(answer, JobkitError):
            wrong, _, hint = str(answer).partition("\n\nhint: ")
            yield Row(f"host {host}", FAILS, wrong, hint or f"ssh {host} true has to work without a question")
        else:
            yield from answer


def rows(plan: Plan, host: str) -> Iterator[Row]:
    """Yield what a host says.

    Raises:
        SubmitError: It cannot be used.
    """
    from jobkit.remote import places, session
    from jobkit.remote.arrival import WHERE

    pythons = (plan.ssh.python,) if plan.ssh.python else (sys.executable, session.PYTHON)
    talk = session.Session(host, *pythons, where=WHERE, keys=plan.ssh.host_keys)
    try:
        workdir = None if places.in_tree(plan) is not None else plan.ssh.workdir or plan.workdir
        seen, _ = talk.ask({"ask": "see", "workdir": workdir})
    finally:
        talk.close()
    yield Row(f"host {host}", OK, f"answers; {talk.python}")
    yield _jobkit(plan, host, talk.jobkit)
    free = f"{seen['home']}: {seen['free'] / 1e9:.1f} GB free"
    if not seen["writable"]:
        yield Row(f"folder on {host}", FAILS, f"{seen['home']}: cannot be written", "set JOBKIT_HOME there")
    elif seen["free"] < _LITTLE_BYTES:
        yield Row(f"folder on {host}", WARNING, free, "make room, or set JOBKIT_HOME there")
    else:
        yield Row(f"folder on {host}", OK, free)
    if workdir is not None and not seen["workdir"]:
        yield Row(f"workdir on {host}", FAILS, f"{workdir} is not there", "make it, or leave it to ssh.sync")


def _jobkit(plan: Plan, host: str, version: str | None) -> Row:
    check, own = f"jobkit on {host}", jobkit.__version__
    remedy = f"ssh {host} pip install jobkit=={own}, where its python is; or ssh.sync: true"
    if plan.ssh.sync and version == own:
        return Row(check, OK, f"{own} is brought along; {version} is installed, with jobkit.native")
    if plan.ssh.sync:
        has = "none is installed" if version is None else f"{version} is installed"
        return Row(check, WARNING, f"{own} is brought along, without jobkit.native; {has}", remedy)
    if version != own:
        return Row(check, FAILS, f"{version or 'none'}; here {own}", remedy)
    return Row(check, OK, own)
