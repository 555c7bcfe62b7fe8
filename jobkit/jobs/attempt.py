"""One attempt of a task: what its agent is asked to do, and what is decided about it while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jobkit.agent.client import Agent
from jobkit.agent.crew import Crew
from jobkit.agent.events import Problem
from jobkit.agent.request import Request
from jobkit.jobs import environment, folder
from jobkit.plan import Plan, Task

Agents = Agent | Crew


@dataclass(eq=False)
class Attempt:
    """One attempt of a task, while it runs.

    Attributes:
        task: Its index in the plan.
        agent: The agent that runs it, or those of several hosts.
        log_start: Bytes in the keeper's log when it started.
        limit: When the time limit is reached (monotonic seconds), None without one.
        warn: When the program gets its signal, None without one or when it has been sent.
        verdict: The state that was decided for it before it ended: timeout or cancelled.
        reason: Why, in words.
        given_up: When an agent that was told to end its ranks is given up, None before that.
        problem: Why it could not be started, or what else went wrong beside the program.
    """

    task: int
    agent: Agents
    log_start: int
    limit: float | None
    warn: float | None
    verdict: str | None = None
    reason: str | None = None
    given_up: float | None = None
    problem: Problem | None = None


def due(plan: Plan, now: float) -> tuple[float | None, float | None]:
    """Return when the time limit of an attempt that starts now is reached, and when its signal is sent."""
    if plan.time_s is None:
        return None, None
    limit = now + plan.time_s
    return limit, None if plan.signal is None else max(now, limit - plan.signal.before_s)


def requested(
    plan: Plan,
    task: Task,
    job_id: str,
    number: int,
    run_dir: Path,
    environ: Mapping[str, str],
    secrets: Mapping[str, str],
) -> Request:
    """Return what the agent is asked to do for an attempt of a task on this machine.

    Args:
        plan: The job's.
        task: One of its tasks.
        job_id: The job's id; a point of a sweep adds its own.
        number: The attempt, from 1.
        run_dir: The job's run folder.
        environ: The keeper's, with what is forwarded.
        secrets: Their values.
    """
    forward = {name: environ[name] for name in plan.forward}
    return Request(
        job=job_id if task.point is None else f"{job_id}/{task.point}",
        name=task.name,
        attempt=number,
        run_dir=str(folder.task_folder(run_dir, task.point)),
        output="files",
        first_rank=0,
        local_size=plan.ranks,
        size=plan.ranks,
        node=0,
        nodes=1,
        command=task.command,
        backend=plan.backend,
        connections_per_ip=plan.connections_per_ip,
        python=plan.python,
        workdir=str(run_dir / folder.SNAPSHOT) if plan.snapshot else plan.workdir,
        environ=environment.of_ranks(environ, inherit=plan.inherit),
        setup=plan.setup,
        overlay=environment.overlay(forward, task.env, secrets),
        stdin="none",
        ports=plan.ports,
        subnet=plan.subnet,
        terminal=None,
        gpus_per_rank=plan.gpus_per_rank,
        share_gpus=plan.share_gpus,
        jaccl_hostfile=plan.jaccl_hostfile,
    )
