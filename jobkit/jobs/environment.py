"""What a job's ranks find in their environment, and how it gets there without touching a disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jobkit.env import names
from jobkit.env.home import HOME
from jobkit.env.scrub import scrub
from jobkit.errors import SpecError, complaint
from jobkit.jobs.home import home

# What `inherit: false` starts from.
MINIMUM = ("PATH", "HOME", "USER", "LANG")


def check(wanted: Mapping[str, Iterable[str]], environ: Mapping[str, str]) -> None:
    """Complain about every name that the submitting environment lacks.

    Args:
        wanted: The names under each key of the spec.

    Raises:
        SpecError: Some are not set; the text names all of them.
    """
    missing = [(key, name) for key, names in wanted.items() for name in names if name not in environ]
    if missing:
        wrong = "not set in the submitting environment"
        raise SpecError("\n".join(complaint(key, wrong, got=name) for key, name in missing))


def taken(key: str, names: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the named variables of the submitting environment.

    Args:
        key: The key of the spec that names them, `forward` or `secrets`.

    Raises:
        SpecError: Some are not set.
    """
    names = tuple(names)
    check({key: names}, environ)
    return {name: environ[name] for name in names}


def of_keeper(
    job_id: str, environ: Mapping[str, str], forward: Mapping[str, str], secrets: Iterable[str]
) -> dict[str, str]:
    """Return the environment that the keeper is started with: the job's, without its secrets.

    It is marked as a keeper's, so that a job that submits another one does not take it along when it ends.
    """
    given = scrub(environ, tuple(secrets)) | dict(forward) | {names.KEEPER: job_id}
    if HOME in given:  # the keeper works in another directory
        given[HOME] = str(home(given))
    return given


def of_ranks(keeper: Mapping[str, str], *, inherit: bool) -> dict[str, str]:
    """Return what the ranks start from, given the keeper's environment."""
    kept = MINIMUM if not inherit else [name for name in keeper if name != names.KEEPER]
    return {name: keeper[name] for name in kept if name in keeper}


def overlay(forward: Mapping[str, str], env: Mapping[str, str], secrets: Mapping[str, str]) -> dict[str, str]:
    """Return what is laid over the environment that `setup` left."""
    return {**forward, **env, **secrets}
