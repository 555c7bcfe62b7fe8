"""The keeper of a job whose ranks are on other hosts: `python -m jobkit.remote.keeper RUN_DIR`.

It holds the connections to the agents there, which end their ranks when it goes, and writes here what they
would have written on this machine: what the ranks print, and how they ended.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from jobkit.agent.crew import Crew
from jobkit.agent.events import Done, Event, Exited, Output
from jobkit.agent.request import Request
from jobkit.env import record as exit_records
from jobkit.jobs import exits, files, folder, keeper
from jobkit.jobs.attempt import Agents, Attempt
from jobkit.jobs.follow import ERR, OUT
from jobkit.jobs.record import LOST, Record
from jobkit.plan import Plan, Task
from jobkit.remote import places
from jobkit.remote.kept import KeptCrew

_STREAMS = {1: OUT, 2: ERR}


class RemoteKeeper(keeper.Keeper):
    """Runs the tasks of one job on its hosts."""

    def __init__(
        self, run_dir: Path, plan: Plan, known: Record, environ: Mapping[str, str], secrets: Mapping[str, str]
    ) -> None:
        super().__init__(run_dir, plan, known, environ, secrets)
        self.places = places.read(run_dir)
        self.pauses = False

    def listen(self) -> None:
        """Let signals wake the loop; TSTP pauses the job, and CONT lets it go on."""
        super().listen()
        signal.signal(signal.SIGTSTP, self._told_to_pause)

    def _told_to_pause(self, *_: object) -> None:
        self.pauses = True

    def look_for_requests(self) -> None:
        """Cancel what was asked to be cancelled, and pause when that was asked for."""
        super().look_for_requests()
        if self.pauses:
            self.pauses = False
            for attempt in self.running:
                attempt.agent.signal("STOP")
            os.kill(os.getpid(), signal.SIGSTOP)
            for attempt in self.running:
                attempt.agent.signal("CONT")

    def requested(self, task: Task, number: int) -> Request:
        """Return what is asked for an attempt: its output comes here, whatever the host."""
        asked = super().requested(task, number)
        each, nodes = self.plan.ranks_per_node, self.plan.nodes
        return replace(
            asked,
            output="pipe",
            environ={},
            local_size=each,
            nodes=nodes,
            suspend_s=self.plan.ssh.suspend_s,
            addresses=self.plan.ssh.addresses,
        )

    def brought(self, task: Task, number: int) -> Agents:
        """Connect to the hosts."""
        place = self._folder(task, number)
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        for rank in range(self.plan.ranks):
            for stream in (OUT, ERR):
                (place / f"rank-{rank}.{stream}").touch(mode=0o600)
        return self.crew(task, self.requested(task, number)).__enter__()

    def crew(self, task: Task, asked: Request) -> Crew:
        """Return what connects to the hosts for an attempt."""
        inherit, keys = self.plan.inherit, self.plan.ssh.host_keys
        return KeptCrew(asked, self.places, task.point, inherit=inherit, keys=keys)

    def _folder(self, task: Task, number: int) -> Path:
        return folder.attempt(folder.task_folder(self.run_dir, task.point), number)

    def host_of(self, rank: int) -> str:
        """Return the host that a rank runs on."""
        return next(place.name for place in self.places if rank in place.ranks)

    def note(self, attempt: Attempt, event: Event) -> None:
        """Take note of one event, and keep what comes with it."""
        if isinstance(event, Output | Exited):
            place = self._folder(self.plan.tasks[attempt.task], self.record.tasks[attempt.task].attempt)
            try:
                _keep(place, event)
            except OSError as error:
                if not files.is_full(error):
                    raise
                keeper.log(f"{place}: no room for what ranks write")
        super().note(attempt, event)

    def conclude(self, attempt: Attempt, done: Done) -> None:
        """Decide how an attempt ended; of a host that was lost the plan may want another one."""
        crew = attempt.agent
        assert isinstance(crew, Crew)
        is_its_fault = done.first is None or done.first.victim_of is not None
        if attempt.verdict is None and done.status and crew.lost and is_its_fault:
            told = attempt.problem.message if attempt.problem else "a host was lost"
            if not self.started_over(attempt, "lost a host", self.plan.retries.node_failure, told):
                self.conclude_as(attempt, LOST, exits.LOST, told)
            return
        super().conclude(attempt, done)


def _keep(place: Path, event: Output | Exited) -> None:
    if isinstance(event, Exited):
        exit_records.write_exit(place, event.exit)
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    fd = os.open(place / f"rank-{event.rank}.{_STREAMS[event.stream]}", flags, 0o600)
    try:
        files.write_all(fd, event.data)
    finally:
        os.close(fd)


if __name__ == "__main__":
    sys.exit(keeper.main(sys.argv[1:], RemoteKeeper))
