"""The keeper of a detached job, on the first of its hosts: `python -m jobkit.remote.detached RUN_DIR`.

Its machine's ranks have an agent beside it. On every other host an outpost, which whoever has submitted the
job has started, calls it and brings agents (outpost.py).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from jobkit.agent.crew import Crew
from jobkit.agent.request import Request
from jobkit.jobs import environment, files, keeper, plan_file
from jobkit.jobs.record import Record
from jobkit.plan import Plan, Task
from jobkit.remote.called import CalledCrew
from jobkit.remote.exchange import Exchange
from jobkit.remote.keeper import RemoteKeeper

CALL = "call.json"


class DetachedKeeper(RemoteKeeper):
    """Runs the tasks of one job on this machine and on others that call it."""

    def __init__(
        self, run_dir: Path, plan: Plan, known: Record, environ: Mapping[str, str], secrets: Mapping[str, str]
    ) -> None:
        super().__init__(run_dir, plan, known, environ, secrets)
        self.exchange = Exchange(plan.ports)
        about = self.exchange.about(self.places[0].address)
        files.replace(run_dir / CALL, plan_file.text(about).encode())

    def crew(self, task: Task, asked: Request) -> Crew:
        """Return what takes those who have called."""
        environ = environment.of_ranks(self.environ, inherit=self.plan.inherit)
        own = replace(asked, environ=environ)
        return CalledCrew(own, self.places, task.point, self.exchange, self.plan.secrets)

    def watch_clocks(self) -> None:
        """Look at the clocks, and show the other hosts that this one lives."""
        super().watch_clocks()
        for attempt in self.running:
            if isinstance(attempt.agent, CalledCrew):
                attempt.agent.ping()

    def finish(self) -> None:
        """Let the outposts go, and write the end of the job."""
        self.exchange.close()
        (self.run_dir / CALL).unlink(missing_ok=True)
        super().finish()


if __name__ == "__main__":
    sys.exit(keeper.main(sys.argv[1:], DetachedKeeper))
