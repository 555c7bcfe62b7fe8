"""Run Slurm's commands, in an environment in which they do what they are told and nothing else."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobkit.env.scrub import scrub
from jobkit.errors import SubmitError, complaint

# A controller that is restarting answers within its own time-outs, ten seconds and a few attempts.
TIMEOUT_S = 60.0
_WORDS = 1000  # characters of what a command says that are passed on
# Each command has variables of its own that stand for options: a filter in them would hide jobs.
_OPTIONS = ("SQUEUE_", "SCONTROL_", "SCANCEL_", "SACCT_")


_MAX_ARRAY_SIZE = re.compile(r"^MaxArraySize\s*=\s*(\d+)", re.MULTILINE)


class UnansweredError(SubmitError):
    """Slurm did not say what was asked, so that nothing is known."""


@dataclass(frozen=True)
class Answer:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """What it complained of, in one line that a terminal can take."""
        lines = [line.strip() for line in (self.err.strip() or self.out.strip()).splitlines()]
        ended = f"status {self.status}" if self.status >= 0 else f"killed by signal {-self.status}"
        text = "; ".join(filter(None, lines)) or ended
        text = text if len(text) <= _WORDS else text[:_WORDS] + "…"
        return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def call(
    words: Sequence[str],
    environ: Mapping[str, str],
    *,
    timeout_s: float = TIMEOUT_S,
    cwd: str = "/",
    inherited: Sequence[int] = (),
) -> Answer:
    """Run a command to its end.

    Args:
        words: The command.
        environ: The complete environment that it gets.
        timeout_s: When it is given up.
        cwd: Its working directory.
        inherited: Descriptors that stay open in it.

    Raises:
        SubmitError: It is not installed.
        UnansweredError: It did not end in time, or SLURM_CONF names no file.
    """
    conf = environ.get("SLURM_CONF")
    if conf and not Path(conf).exists():  # Slurm's commands would look for another one for a minute
        raise UnansweredError(
            complaint("SLURM_CONF", "no such file", got=conf, expected="a slurm.conf, or unset")
        )
    try:
        done = subprocess.run(
            words, env=dict(environ), cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True,
            timeout=timeout_s, pass_fds=inherited, check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        hint = "submit on a login node of the cluster"
        raise SubmitError(complaint(words[0], "no such program on this machine", hint=hint)) from error
    except OSError as error:
        raise SubmitError(complaint(words[0], f"cannot be started: {error.strerror}")) from error
    except subprocess.TimeoutExpired as error:
        raise UnansweredError(f"{words[0]} did not answer within {timeout_s:.0f} s") from error
    return Answer(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def own_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for commands that only ask or cancel; times come out in UTC."""
    kept = {name: value for name, value in scrub(environ).items() if not name.startswith(_OPTIONS)}
    return {**kept, "TZ": "UTC", "SLURM_TIME_FORMAT": "standard", "LC_ALL": "C"}


def cancel(number: str, environ: Mapping[str, str]) -> None:
    """Cancel a job of Slurm's, or a point of a sweep; one that has ended is left as it is.

    A point that waits is no job of its own in Slurm, and cancelled as it is would be forgotten: jobs that
    come after it would start. On hold, it becomes one.

    Raises:
        SubmitError: Slurm refuses it, or does not answer.
    """
    if "_" in number:
        call(("scontrol", "hold", number), own_environ(environ))  # refused of what does not wait
    answer = call(("scancel", number), own_environ(environ))
    if answer.status and "Invalid job id" not in answer.words:
        raise SubmitError(f"scancel {number}: {answer.words}")


def longest_array(environ: Mapping[str, str]) -> int | None:
    """Return how many tasks a job array may have here, None where Slurm does not say."""
    answer = call(("scontrol", "show", "config"), own_environ(environ))
    found = _MAX_ARRAY_SIZE.search(answer.out)
    return int(found[1]) if found else None
