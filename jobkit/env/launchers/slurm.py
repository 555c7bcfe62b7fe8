"""A task of an srun step; everything else that carries Slurm's variables is no rank."""

from __future__ import annotations

from jobkit.env import nodelist
from jobkit.env.launchers.read import agree, checked, count, optional
from jobkit.env.placement import Facts, Found, NotARank, Placement
from jobkit.errors import PlacementError, complaint

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

_JOB, _STEP, _RESTARTS = "SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"
_RANK, _LOCAL_RANK, _NODE = "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"
# Of the step: their namesakes without STEP_ are the job's here and the step's there, or a leftover of sbatch.
_SIZE, _NODES = "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES"
_LIST, _SIZES = "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE"
_RANKS_HERE, _DISTRIBUTION, _NAME = "SLURM_GTIDS", "SLURM_DISTRIBUTION", "SLURMD_NODENAME"
_TASK, _HET_SIZE = "SLURM_TASK_PID", "SLURM_HET_SIZE"
_PMI_JOB, _PMI_RANK, _PMI_SIZE = "PMI_JOBID", "PMI_RANK", "PMI_SIZE"
_PMIX_JOB, _PMIX_RANK = "PMIX_NAMESPACE", "PMIX_RANK"

# Numbers from here on are kinds of step that start no ranks.
_FIRST_SPECIAL = 0xFFFFFFF0
_SPECIAL = {0xFFFFFFFA: "interactive", 0xFFFFFFFB: "batch", 0xFFFFFFFC: "extern"}
_KINDS = {
    "batch": "the batch step of a job (its script)",
    "interactive": "the shell of an interactive step (salloc)",
    "extern": "a process that Slurm adopted into the job (ssh)",
    "special": "a step that starts no ranks",
    "allocation": "an allocation without a step (the shell of salloc)",
}
_DAEMON = "slurmstepd"
_SHELLS = ("bash", "sh", "zsh", "dash", "ksh", "csh", "tcsh", "fish", "ash")

_REMEDY = "start the ranks with srun jobkit exec -- COMMAND"
_SOURCES = (
    ("rank", _RANK),
    ("size", _SIZE),
    ("local_rank", _LOCAL_RANK),
    ("local_size", _SIZES),
    ("node", _NODE),
    ("nodes", _NODES),
    ("hosts", _LIST),
    ("job", _STEP),
    ("attempt", _RESTARTS),
    ("first_host", _LIST),
)


def detect(environ: Mapping[str, str], facts: Facts) -> Found | NotARank | None:
    """Return the place in a step.

    Source: https://slurm.schedmd.com/srun.html, "OUTPUT ENVIRONMENT VARIABLES"; recorded with Slurm 22.05.8.
    """
    if _JOB not in environ and _STEP not in environ:
        return None
    job = environ.get(_JOB, "")
    kind = _kind(environ, facts)
    if kind != "task":
        named = f"{_JOB}={job}" if job else f"{_STEP}={environ.get(_STEP, '')}"
        return NotARank(f"{named}: {_KINDS[kind]}, which is no rank; {_REMEDY}", f"slurm-{job}")
    if not job:
        raise PlacementError(complaint(_JOB, f"empty or not set, beside {_STEP}", hint=f"unset {_STEP}"))
    wrong = _inherited(environ, facts) or _shell(environ, facts)
    if wrong is not None:
        return NotARank(f"{_JOB}={job}: {wrong}", f"slurm-{job}")
    return _placed(environ)


def _kind(environ: Mapping[str, str], facts: Facts) -> str:
    """Return "task", or what this process is instead; the daemon above it knows best.

    Variables of a step are inherited by a job that is submitted inside it.
    """
    step = _daemon_step(facts)
    if step in _SPECIAL.values():
        return step
    if _STEP not in environ:
        return "batch" if _RANK in environ else "allocation"
    number = count(environ, _STEP, most=0xFFFFFFFF)
    if number >= _FIRST_SPECIAL:
        return _SPECIAL.get(number, "special")
    return "task" if _SIZE in environ else "allocation"


def _daemon_step(facts: Facts) -> str:
    """Return the step in the title of the nearest daemon, `slurmstepd: [44.batch]`; "" without one."""
    title = next((name for _, name in facts.ancestors or () if name.startswith(_DAEMON)), "")
    return title.partition("[")[2].partition("]")[0].rpartition(".")[2]


def _inherited(environ: Mapping[str, str], facts: Facts) -> str | None:
    """Return what the variables are where the task that they were set for is not above this process."""
    pid = optional(environ, _TASK)
    if pid is None or facts.ancestors is None or facts.contained is not False:
        return None
    job, step = environ[_JOB], environ[_STEP]
    above = any(number == pid or name.startswith(_DAEMON) for number, name in facts.ancestors)
    if above or f"/job_{job}/step_{step}/" in (facts.cgroup or "").replace("\n", "/"):
        return None
    return (
        f"variables of step {job}.{step}, inherited by a process that is not its task (tmux, ssh, a daemon): "
        f"{_TASK}={pid} is not above it; {_REMEDY}, or unset {_JOB}"
    )


def _shell(environ: Mapping[str, str], facts: Facts) -> str | None:
    """Return what this process is if the step's task is a shell at a terminal: `srun --pty bash`."""
    if not facts.terminal or environ.get(_SIZE) == "1":
        return None
    pid = environ.get(_TASK, "")
    task = next((name for number, name in facts.ancestors or () if str(number) == pid), "")
    if task not in _SHELLS:
        return None
    return f"a shell at a terminal (srun --pty {task}), which is no rank; {_REMEDY}"


def _placed(environ: Mapping[str, str]) -> Found:
    rank, size, local_rank, node = (count(environ, name) for name in (_RANK, _SIZE, _LOCAL_RANK, _NODE))
    sizes = nodelist.counts(environ.get(_SIZES, ""), _SIZES)
    nodes = nodelist.hosts(environ.get(_LIST, ""), _LIST)
    _check(environ, rank, size, node, sizes, nodes)
    here = _ranks_here(environ)
    own = environ.get(_NAME) or nodes[node]
    # The list of a step over het groups may be in another order than its nodes' numbers.
    ordered = own == nodes[node]
    hosts = _hosts(environ, node, sizes, nodes, here) if ordered else None
    if hosts is None:
        mine = {rank, *here}
        hosts = tuple(own if r in mine or len(nodes) == 1 else None for r in range(size))
    placement = Placement(rank, size, local_rank, sizes[node], node, len(nodes), hosts)
    return Found(
        checked(placement, _SOURCES),
        f"slurm-{environ[_JOB]}.{environ[_STEP]}",
        (optional(environ, _RESTARTS) or 0) + 1,
        nodes[0] if ordered else None,
        _SOURCES,
    )


def _check(
    environ: Mapping[str, str],
    rank: int,
    size: int,
    node: int,
    sizes: tuple[int, ...],
    nodes: tuple[str, ...],
) -> None:
    """Compare what the step's variables say of the same things.

    Raises:
        PlacementError: Two disagree, and both are printed.
    """
    number = optional(environ, _NODES)
    if number is not None and number != len(nodes):
        raise _contradiction(environ, _NODES, _LIST, f"{len(nodes)} hosts")
    if len(sizes) != len(nodes):
        raise _contradiction(environ, _SIZES, _LIST, f"{len(sizes)} and {len(nodes)} nodes")
    if sum(sizes) != size:
        raise _contradiction(environ, _SIZES, _SIZE, f"{sum(sizes)} and {size} tasks")
    if node >= len(nodes):
        raise PlacementError(
            complaint(
                _NODE, "not a node of this step", got=node, expected=f"less than {len(nodes)} ({_LIST})"
            )
        )
    here = _ranks_here(environ)
    if here and rank not in here:
        raise _contradiction(environ, _RANK, _RANKS_HERE, "this rank is not of this node")
    if here and len(here) != sizes[node]:
        raise _contradiction(environ, _SIZES, _RANKS_HERE, f"{sizes[node]} and {len(here)} tasks here")
    step = f"{environ[_JOB]}.{environ[_STEP]}"
    if environ.get(_PMI_JOB) == step:
        agree(environ, _RANK, _PMI_RANK)
        agree(environ, _SIZE, _PMI_SIZE)
    if environ.get(_PMIX_JOB) == f"slurm.pmix.{step}":
        agree(environ, _RANK, _PMIX_RANK)


def _contradiction(environ: Mapping[str, str], one: str, other: str, what: str) -> PlacementError:
    return PlacementError(
        complaint(
            f"{one}={environ[one]}",
            f"contradicts {other}={environ[other]} ({what})",
            hint="variables of two steps are mixed: start the program with srun again, from a clean shell",
        )
    )


def _ranks_here(environ: Mapping[str, str]) -> tuple[int, ...]:
    """Return the ranks of this node, in the order of their local ranks; none where Slurm does not say."""
    text = environ.get(_RANKS_HERE, "")
    if not text:
        return ()
    items = text.split(",")
    if not all(item.isascii() and item.isdigit() and len(item) < 10 for item in items):
        raise PlacementError(complaint(_RANKS_HERE, "not a list of ranks", got=text, expected="0,1"))
    return tuple(map(int, items))


def _hosts(
    environ: Mapping[str, str],
    node: int,
    sizes: tuple[int, ...],
    nodes: tuple[str, ...],
    here: tuple[int, ...],
) -> tuple[str | None, ...] | None:
    """Return a host per rank for a block distribution; None for others, whose ranks lie elsewhere.

    With one task a node Slurm calls the same order cyclic. In a step of several het groups the word is that
    of one group, so this node's ranks are compared too.
    """
    word = environ.get(_DISTRIBUTION, "").partition(":")[0].partition(",")[0]
    one_each = word in ("cyclic", "plane") and max(sizes) == 1
    first = sum(sizes[:node])
    if not (word == "block" or one_each) or (here and here != tuple(range(first, first + sizes[node]))):
        return None
    return tuple(host for host, number in zip(nodes, sizes, strict=True) for _ in range(number))
