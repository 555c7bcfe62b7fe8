"""Measure what docs/slurm.md says of time, on the cluster of the tests: `make measure-slurm`.

Both sides of a comparison run in turns, so that what else the machine does falls on both.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from clusters.slurm import Slurm

_MINIMAL = """
import submitit
executor = submitit.AutoExecutor(folder="submitit", cluster="slurm")
executor.update_parameters(nodes=1, tasks_per_node=1, timeout_min=5)
print(executor.submit(print).job_id)
"""
_PLAIN = "executor: slurm\nrun: 'true'\nbackend: none\ntime: 5m\n"
_SWEEP = f"{_PLAIN}sweep: {{i: {json.dumps(list(range(1000)))}}}\n"
_SLEEP = "executor: slurm\nshell: true\nrun: sleep 2; date +%s.%N > {file}\nbackend: none\n"
# First on PATH: writes down that it was called, and calls what it stands for.
_COUNTING = '#!/bin/sh\necho {name} >> "{log}"\nexec {program} "$@"\n'


class Bench:
    """A cluster, and a folder from which jobs are submitted there."""

    def __init__(self, cluster: Slurm, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.calls = folder / "calls"
        self._bin = folder / "bin"
        self._bin.mkdir()
        for name in ("sbatch", "squeue", "scontrol", "sacct"):
            found = cluster.run("which", name, check=False).stdout.strip()
            if found:
                program = self._bin / name
                program.write_text(_COUNTING.format(name=name, log=self.calls, program=found))
                program.chmod(0o755)

    def write(self, name: str, text: str) -> str:
        """Write a file to submit; return its name."""
        (self.folder / name).write_text(text)
        return name

    def run(self, *words: str, counted: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a command on the login host, where Slurm's may be counted."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        path = f"{self._bin}:{path}" if counted else path
        return self.cluster.run(*words, cwd=str(self.folder), PATH=path, JOBKIT_HOME=f"{self.folder}/home")

    def counted(self, name: str) -> int:
        """Return how often a command of Slurm's was called since the last question."""
        calls = self.calls.read_text().split() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return calls.count(name)


def took(action: Callable[[], object]) -> float:
    """Return how long an action takes, in seconds."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def submission(bench: Bench, rounds: int = 15) -> str:
    """Compare one job's submission with a minimal script that imports submitit."""
    spec, minimal = bench.write("plain.yaml", _PLAIN), bench.write("minimal.py", _MINIMAL)
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(took(lambda: bench.run("jobkit", "submit", spec)))
        theirs.append(took(lambda: bench.run("python", minimal)))
    bench.cluster.clear()
    ratio = statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
    medians = f"{1000 * statistics.median(ours):.0f} ms, {1000 * statistics.median(theirs):.0f} ms"
    return f"submit of one job against a minimal script with submitit: {medians}, {ratio:.2f}x"


def sweep(bench: Bench) -> str:
    """Submit a sweep of 1 000 points."""
    spec = bench.write("sweep.yaml", _SWEEP)
    bench.counted("sbatch")
    seconds = took(lambda: bench.run("jobkit", "submit", spec, counted=True))
    calls = bench.counted("sbatch") - 1  # one of them only tests the script
    bench.cluster.clear()
    return f"submit of 1 000 points: {seconds:.1f} s, {calls} sbatch"


def notice(bench: Bench, rounds: int = 5) -> str:
    """Measure how long after its program's end a job that is waited for is known to have ended."""
    file = bench.folder / "ended"
    spec = bench.write("sleep.yaml", _SLEEP.format(file=file))
    late = []
    for _ in range(rounds):
        bench.run("jobkit", "submit", spec, "--wait")
        late.append(time.time() - float(file.read_text()))
    median, most = statistics.median(late), max(late)
    return f"--wait returns after the program's end: {median:.2f} s, at most {most:.2f} s"


def questions(bench: Bench, watchers: int = 8) -> str:
    """Count what Slurm is asked while several commands watch jobs."""
    spec = bench.write("long.yaml", _PLAIN.replace("'true'", "sleep 60"))
    jobs = [bench.run("jobkit", "submit", spec).stdout.strip() for _ in range(watchers)]
    bench.counted("squeue")
    start = time.perf_counter()
    bench.run("sh", "-c", "for job do timeout 10 jobkit wait $job & done; wait", "sh", *jobs, counted=True)
    seconds = time.perf_counter() - start
    asked = bench.counted("squeue")
    bench.cluster.clear()
    return f"{watchers} commands that wait for {watchers} jobs: {asked} squeue in {seconds:.0f} s"


def main() -> None:
    """Print the figures, a line each."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "work").mkdir()
        cluster = Slurm(Path(name))
        try:
            bench = Bench(cluster, Path(name) / "work")
            for figure in (submission, notice, questions, sweep):
                print(figure(bench), flush=True)
        finally:
            cluster.end()


if __name__ == "__main__":
    main()
