"""Every environment of tests/data/launchers gives what it says, and docs/launchers.md tells it.

A file is one environment: `# key: value` lines, then a block for each of its processes, which has the output
of `env` (`\\n` for a line's end), what is expected (`#= `: a placement, a refusal, an error) and the facts
(`#! `). JOBKIT_REGENERATE=1 writes the page anew.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobkit.env import explain
from jobkit.env.detect import DETECTORS, Detection, detect, detector
from jobkit.env.placement import Facts, Placement
from jobkit.errors import PlacementError

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "tests" / "data" / "launchers"
PAGE = REPOSITORY / "docs" / "launchers.md"
REGENERATE = "JOBKIT_REGENERATE" in os.environ  # read now: no test sees the variables of a launcher


class Process(NamedTuple):
    """One process of an environment."""

    expected: str
    facts: Facts
    environ: dict[str, str]


class Environment(NamedTuple):
    """One file."""

    name: str
    about: dict[str, str]
    processes: list[Process]


def read(path: Path) -> Environment:
    head, *blocks = path.read_text().rstrip("\n").split("\n\n")
    about = dict(line[2:].split(": ", 1) for line in head.splitlines())
    return Environment(path.stem, about, [process(block.splitlines()) for block in blocks])


def process(lines: list[str]) -> Process:
    told = [line[3:].split(" ", 1) for line in lines if line.startswith("#! ")]
    pairs = [line.split("=", 1) for line in lines if not line.startswith("#")]
    return Process(lines[0][3:], facts(told), {name: value.replace("\\n", "\n") for name, value in pairs})


def facts(told: list[list[str]]) -> Facts:
    known = {name: value for name, value in told if name != "file"}
    files = [value.split(" ", 1) for name, value in told if name == "file"]
    above = [item.split(" ", 1) for item in known["ancestors"].split(", ")] if "ancestors" in known else None
    return Facts(
        known.get("host"),
        tuple(known["hostfile"].split()) if "hostfile" in known else None,
        None if above is None else tuple((int(pid), name) for pid, name in above),
        {"yes": True, "no": False, "": None}[known.get("contained", "")],
        known.get("cgroup"),
        {"yes": True, "": None}[known.get("terminal", "")],
        tuple((name, text.replace("\\n", "\n")) for name, text in files),
    )


ENVIRONMENTS = [read(path) for path in sorted(FOLDER.glob("*.txt"))]
PROCESSES = [
    pytest.param(found, id=f"{environment.name}-{i}")
    for environment in ENVIRONMENTS
    for i, found in enumerate(environment.processes)
]


def said(found: Detection) -> str:
    """Return a detection in the words of the files."""
    if found.placement is None:
        return f"none {found.reason}"
    p: Placement = found.placement
    local_size, node, nodes = ("?" if n is None else n for n in (p.local_size, p.node, p.nodes))
    hosts = " ".join(host or "-" for host in p.hosts)
    place = f"rank {p.rank}/{p.size} local {p.local_rank}/{local_size} node {node}/{nodes} hosts {hosts}"
    return f"{found.launcher or 'none'} {place}"


@pytest.mark.parametrize("process", PROCESSES)
def test_it_is_placed_or_refused(process: Process) -> None:
    kind, _, wanted = process.expected.partition(" ")
    if kind == "error":
        with pytest.raises(PlacementError) as caught:
            detect(process.environ, process.facts)
        assert wanted in str(caught.value)
    elif kind == "none" and not wanted.startswith("rank "):
        found = detect(process.environ, process.facts)
        assert found.placement is None
        assert wanted in found.reason
    else:
        assert said(detect(process.environ, process.facts)) == process.expected


# Their processes are of several jobs, or one process with facts and without.
SEVERAL = ("slurm-array-step", "slurm-parallel-steps", "torchrun-in-slurm", "jobkit-in-slurm")


@pytest.mark.parametrize(
    "environment",
    [e for e in ENVIRONMENTS if e.name not in SEVERAL],
    ids=lambda environment: environment.name,
)
def test_all_ranks_of_an_environment_agree(environment: Environment) -> None:
    """They give the job one name, and no two of them are the same rank."""
    found = [detect(p.environ, p.facts) for p in environment.processes if not p.expected.startswith("error")]
    placed = [d for d in found if d.launcher is not None and d.found is not None]
    assert len({d.found.job for d in placed if d.found}) <= 1
    assert len({d.placement.rank for d in placed if d.placement}) == len(placed)


def test_jobs_that_may_run_at_once_have_different_names() -> None:
    for name in ("slurm-array-step", "slurm-parallel-steps"):
        environment = read(FOLDER / f"{name}.txt")
        found = [detect(p.environ, p.facts).found for p in environment.processes]
        assert len({f.job for f in found if f}) == len(found) > 1


JUNK = (
    "",
    " ",
    "-1",
    "1.5",
    "x",
    "٣",
    "0",
    "1",
    "7",
    "4194304",
    "9" * 400,
    "n[1-",
    "n[0-262143]",
    "2(x",
    "\udcff",
    "a=b c",
)
MUTABLE = [(p.facts, p.environ) for e in ENVIRONMENTS for p in e.processes]


@given(st.sampled_from(MUTABLE), st.data())
@settings(max_examples=300, deadline=None)
def test_any_value_of_a_variable_gives_a_placement_a_refusal_or_an_error(
    found: tuple[Facts, dict[str, str]], data: st.DataObject
) -> None:
    known, environ = found
    changed = data.draw(st.dictionaries(st.sampled_from(sorted(environ)), st.sampled_from(JUNK), max_size=3))
    mixed = {**environ, **changed}
    for name in data.draw(st.sets(st.sampled_from(sorted(environ)), max_size=2)):
        del mixed[name]
    try:
        detection = detect(mixed, known)
        assert explain.to_text(detection, explain.variables(detection, mixed, ("any",)), explain=True)
    except PlacementError as error:
        assert str(error)


@pytest.mark.parametrize("found", MUTABLE)
def test_a_detector_that_is_not_asked_had_nothing_to_say(found: tuple[Facts, dict[str, str]]) -> None:
    known, environ = found
    for name, marks in DETECTORS.items():
        if not any(variable.startswith(marks) for variable in environ):
            assert detector(name)(environ, known) is None


def test_every_launcher_has_an_environment() -> None:
    assert set(DETECTORS) <= {e.about["launcher"] for e in ENVIRONMENTS}


HEAD = """\
# Launchers

`jobkit exec` and `jobkit env` find out who started them, and where, from the environment and a few facts
about the process. Every environment below is a file of `tests/data/launchers` and is tested: it gives the
placement shown, or the refusal. Where several processes of one environment are recorded, the last is shown.
`?` and `-` are what an environment does not tell; the ranks tell each other when they meet. In a process that
is no rank `jobkit exec` exits with status 125, where variables contradict each other with status 2.

Where several launchers are visible the innermost counts: the one that was not there when jobkit placed the
rank around this process (`JOBKIT_OUTER`), else the one whose process is the nearest above this one, else the
first in this order:
{order}.

`jobkit env --explain` says what it finds here, and why; `jobkit env --record FILE` writes an environment
down, without secrets, for `jobkit env --from FILE` elsewhere.

Kubernetes gives a program the index of its pod, but not the number of pods: the container names it, and in a
JobSet the labels that tell its jobs apart.

```yaml
env:
  - {{name: JOBKIT_NODES, value: "4"}}  # completions of the Job, or all pods of the JobSet
  - name: JOBSET_JOB_GLOBAL_INDEX      # these four in a JobSet only
    valueFrom: {{fieldRef: {{fieldPath: "metadata.labels['jobset.sigs.k8s.io/job-global-index']"}}}}
  - name: JOBSET_GLOBAL_REPLICAS
    valueFrom: {{fieldRef: {{fieldPath: "metadata.labels['jobset.sigs.k8s.io/global-replicas']"}}}}
  - name: JOBSET_COORDINATOR
    valueFrom: {{fieldRef: {{fieldPath: "metadata.labels['jobset.sigs.k8s.io/coordinator']"}}}}
  - name: JOBSET_RESTART_ATTEMPT
    valueFrom: {{fieldRef: {{fieldPath: "metadata.labels['jobset.sigs.k8s.io/restart-attempt']"}}}}
```

"""


def page() -> str:
    """Return docs/launchers.md."""
    known = list(DETECTORS)
    parts = [HEAD.format(order=", ".join(known))]
    for launcher in dict.fromkeys([*known, *(e.about["launcher"] for e in ENVIRONMENTS)]):
        rows = [row(e) for e in ENVIRONMENTS if e.about["launcher"] == launcher]
        table = ["| environment | gives | by | evidence |", "|---|---|---|---|", *rows]
        parts.append("\n".join([f"## {launcher}\n", *table, "\n"]))
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def row(environment: Environment) -> str:
    """Return a line of the table: what the last process of an environment is, and by which variables."""
    last = environment.processes[-1]
    gives, by = outcome(last)
    what = f"`{environment.name}`: {environment.about['what']}"
    if last.facts.ancestors is not None and "facts" in environment.about["evidence"]:
        above = ", ".join(name for _, name in last.facts.ancestors[1:4])
        by += f"{'; ' if by else ''}processes above: {above}"
    return (
        "| "
        + " | ".join(cell.replace("|", "\\|") for cell in (what, gives, by, environment.about["evidence"]))
        + " |"
    )


def outcome(last: Process) -> tuple[str, str]:
    try:
        found = detect(last.environ, last.facts)
    except PlacementError as error:
        return f"status 2: {str(error).partition(chr(10))[0]}", ""
    if found.found is None or found.launcher is None:
        gives = said(found) if found.found else f"no rank: {found.reason}"
        return gives.replace("\n", " ").replace("none rank", "rank"), ""
    sources = [name for field, name in found.found.sources if name in last.environ and field != "attempt"]
    gives = said(found).partition(" ")[2]
    return gives, ", ".join(f"`{name}`" for name in dict.fromkeys(sources))


def test_the_page_is_what_the_environments_say() -> None:
    if REGENERATE:
        PAGE.write_text(page())
    assert PAGE.read_text() == page(), "JOBKIT_REGENERATE=1 pytest tests/env/test_launchers.py writes it anew"
