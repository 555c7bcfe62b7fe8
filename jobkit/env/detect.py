"""Find the launcher that started this process, and the place it gave it."""

from __future__ import annotations

from jobkit.env import outer
from jobkit.env.data import dataclass
from jobkit.env.placement import Facts, Found, NotARank, Placement
from jobkit.errors import PlacementError

# Innermost first, as they are stacked where nothing else tells: torchrun inside mpirun inside srun inside a
# pod. Plain variables come last, since whoever starts ranks around this process may leave its own. Each is a
# file in launchers/, which is read only where a variable begins with one of these: all of them would take
# every rank as long as Python's own start.
DETECTORS = {
    "jobkit": ("JOBKIT_RANK",),
    "torchrun": ("TORCHELASTIC_",),
    "openmpi": ("OMPI_", "PMIX_", "PRTE_"),
    "mvapich2": ("MV2_",),
    "mpich": ("PMI_", "MPI_", "I_MPI_"),
    "pals": ("PALS_",),
    "flux": ("FLUX_",),
    "slurm": ("SLURM",),
    "lsf": ("LSB_", "JSM_"),
    "pbs": ("PBS_",),
    "sge": ("SGE_", "PE_HOSTFILE", "JOB_ID"),
    "skypilot": ("SKYPILOT_",),
    "dstack": ("DSTACK_",),
    "kubernetes": ("JOB_COMPLETION_INDEX", "JOBSET_", "K_MPI_JOB_ROLE"),
    "env": ("MLX_", "RANK", "WORLD_SIZE"),
}

# The processes from which a launcher's ranks descend on their own host, by the first 15 letters of their
# names. A rank of torchrun may have any Python above it: that of whoever calls its API.
_PROCESSES = {
    "torchrun": ("torchrun", "pt_elastic", "accelerate", "python"),
    "openmpi": ("orted", "prted", "prterun", "prte", "orterun", "mpirun", "mpiexec", "mpirun.openmpi"),
    "mvapich2": ("mpispawn", "hydra_pmi_proxy"),
    "mpich": ("hydra_pmi_proxy", "pmi_proxy", "mpiexec.gforker"),
    "pals": ("palsd",),
    "flux": ("flux-shell",),
    "slurm": ("slurmstepd",),
    "pbs": ("pbs_mom",),
    "sge": ("sge_shepherd",),
}
# Launchers of MPI libraries: none of them starts the others, so that two which disagree cannot be ordered.
_PEERS = ("openmpi", "mvapich2", "mpich", "pals")

NO_LAUNCHER = "no launcher's variables are set: rank 0 of 1"

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    Answer: TypeAlias = Found | NotARank | PlacementError
    Ask: TypeAlias = Callable[[Mapping[str, str], Facts], Found | NotARank | None]


@dataclass(frozen=True)
class Detection:
    """What was found.

    Attributes:
        launcher: Its name, or None.
        reason: Why, in a sentence.
        found: What the launcher's variables say; None where this process is not a rank.
        evidence: What each launcher's detector said, in the order asked.
        outer: A word for each launcher that was visible, for a program that is started from here.
    """

    launcher: str | None
    reason: str
    found: Found | None
    evidence: tuple[tuple[str, str], ...]
    outer: tuple[str, ...] = ()

    @property
    def placement(self) -> Placement | None:
        """This process's place; None where it is not a rank."""
        return None if self.found is None else self.found.placement


def detect(environ: Mapping[str, str], facts: Facts) -> Detection:
    """Return the innermost launcher that calls this process its own.

    Raises:
        PlacementError: Its variables are malformed, or contradict each other or those of another launcher.
    """
    answers = {
        name: answer
        for name, marks in DETECTORS.items()
        if any(variable.startswith(marks) for variable in environ)
        and (answer := _asked(detector(name), environ, facts)) is not None
    }
    evidence = tuple((name, _said(answers.get(name))) for name in DETECTORS)
    visible = {name: a for name, a in answers.items() if not isinstance(a, PlacementError)}
    around = outer.words(visible, environ)
    if not answers:
        alone = Found(Placement(0, 1, 0, 1, 0, 1, (facts.host,)))
        return Detection(None, NO_LAUNCHER, alone, evidence, around)
    name, why = _innermost(answers, environ, facts)
    answer = answers[name]
    if isinstance(answer, PlacementError):
        raise answer
    if isinstance(answer, NotARank):
        return Detection(None, answer.reason, None, evidence, around)
    return Detection(name, f"{name} says {_place(answer.placement)}{why}", answer, evidence, around)


def detector(name: str) -> Ask:
    """Return the function of launchers/NAME.py."""
    ask: Ask = __import__(f"jobkit.env.launchers.{name}", fromlist=["detect"]).detect
    return ask


def _asked(ask: Ask, environ: Mapping[str, str], facts: Facts) -> Answer | None:
    """Return a detector's answer; that its variables are malformed counts only if it is the innermost."""
    try:
        return ask(environ, facts)
    except PlacementError as error:
        return error


def _innermost(answers: Mapping[str, Answer], environ: Mapping[str, str], facts: Facts) -> tuple[str, str]:
    """Return the name of the launcher that is nearest to this process, and how that is known."""
    if "jobkit" in answers:
        visible = {n: a for n, a in answers.items() if not isinstance(a, PlacementError)}
        inside = outer.newer(visible, environ)
        if not inside:
            return "jobkit", ""
        answers = {name: answers[name] for name in inside}
    placed = [name for name, answer in answers.items() if not isinstance(answer, NotARank)]
    if not placed:
        return next(iter(answers)), ""
    nearest = _nearest(answers, facts) if placed[0] in _PROCESSES and len(answers) > 1 else None
    name, why = nearest or (placed[0], "")
    # Of two launchers of MPI libraries either may have started the other, unless a process tells. Plain
    # variables may have been set inside or outside of any launcher; torchrun's are plain ones too.
    rivals = [] if nearest else [other for other in placed if {name, other} <= set(_PEERS)]
    rivals += [other for other in placed if other == "env" and "torchrun" not in answers]
    _compare(name, rivals, answers)
    return name, why


def _nearest(answers: Mapping[str, Answer], facts: Facts) -> tuple[str, str] | None:
    """Return the launcher whose process is the nearest above this one; None where none is seen."""
    for _, process in (facts.ancestors or ())[1:]:
        program = "python" if process.startswith("python") else process.partition(":")[0]
        for name in answers:
            if program in _PROCESSES.get(name, ()):
                return name, f", by {process} above this process"
    return None


def _compare(name: str, rivals: list[str], answers: Mapping[str, Answer]) -> None:
    """Refuse launchers of which either may be the inner one, where they disagree.

    Raises:
        PlacementError: They do; both are printed.
    """
    chosen = answers[name]
    for rival in rivals:
        other = answers[rival]
        if not isinstance(chosen, Found) or not isinstance(other, Found):
            continue
        places = [(found.placement.rank, found.placement.size) for found in (chosen, other)]
        if places[0] != places[1]:
            raise PlacementError(
                f"{name} says {_place(chosen.placement)} ({_variables(chosen)}), {rival} says "
                f"{_place(other.placement)} ({_variables(other)}): one of them was inherited\n\n"
                "hint: unset the variables of the other"
            )


def _variables(found: Found) -> str:
    sources = dict(found.sources)
    return f"{sources['rank']}, {sources['size']}"


def _said(answer: Answer | None) -> str:
    if answer is None:
        return "not found"
    if isinstance(answer, PlacementError):
        return str(answer).partition("\n")[0]
    return answer.reason if isinstance(answer, NotARank) else _place(answer.placement)


def _place(placement: Placement) -> str:
    return f"rank {placement.rank} of {placement.size}"
