"""Which launchers were there when jobkit placed a rank: one that comes later is nearer to the program.

The shim leaves JOBKIT_OUTER in the program's environment, words for what was visible: `slurm=slurm-44.0:3`
(a launcher, its job and rank), `pbs=pbs-12:` (no rank), `env=RANK:3` (a plain variable). A launcher that is
found later by a word that is not there has been started inside the rank.
"""

from __future__ import annotations

from jobkit.env import names
from jobkit.env.placement import Found, NotARank

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

_ENV = "env"
# The shim sets some of these itself, and mlx.launch inside a rank only others: each counts for itself.
_PLAIN = ("MLX_RANK", "MLX_HOSTFILE", "RANK", "WORLD_SIZE")


def words(answers: Mapping[str, Found | NotARank], environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the words of what the detectors answered."""
    launchers = [
        _word(name, f"{answer.job}:{answer.placement.rank if isinstance(answer, Found) else ''}")
        for name, answer in answers.items()
        if name not in (_ENV, "jobkit")
    ]
    return (*launchers, *_plain(environ))


def _plain(environ: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(_word(_ENV, f"{name}:{environ[name]}") for name in _PLAIN if environ.get(name))


def _word(name: str, value: str) -> str:
    return f"{name}={'_'.join(value.split())}"


def record(found: tuple[str, ...], program: Mapping[str, str]) -> dict[str, str]:
    """Return the variable for a program whose environment is otherwise complete.

    Args:
        found: The words of what the shim itself found.
        program: The program's environment, in which the shim has set plain variables.
    """
    kept = [word for word in found if not word.startswith(f"{_ENV}=")]
    return {names.OUTER: " ".join([*kept, *_plain(program)])}


def newer(answers: Mapping[str, Found | NotARank], environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the launchers that were not there when jobkit placed the rank around this process.

    None where no shim has said what was there: the agent that set the variables started this process.
    """
    if names.OUTER not in environ:
        return ()
    before = environ[names.OUTER].split()
    new = {word.partition("=")[0] for word in words(answers, environ) if word not in before}
    return tuple(name for name in answers if name in new)
