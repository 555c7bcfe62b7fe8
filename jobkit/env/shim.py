"""The shim: from the environment that a launcher left to the program, in order."""

from __future__ import annotations

import os
from collections.abc import Mapping

from jobkit.env import names, outer, ports, translate
from jobkit.env.data import dataclass
from jobkit.env.detect import Detection
from jobkit.env.files import write_private
from jobkit.env.placement import Placement
from jobkit.env.settings import settings
from jobkit.env.translate import Identity, Translation
from jobkit.errors import LaunchError, complaint

TYPE_CHECKING = False

if TYPE_CHECKING:
    from jobkit.env.gang import AgentLink


@dataclass(frozen=True)
class Prepared:
    """What is left to do: start the program.

    Attributes:
        environ: The program's environment.
        placement: Its place, complete.
        identity: Its job, attempt and folders.
        launcher: Who started this process, None for nobody.
        watched: Whether this process stays as the program's parent: no agent is there to see its end.
        files: Paths that are to be removed at the end, when it is watched.
    """

    environ: dict[str, str]
    placement: Placement
    identity: Identity
    launcher: str | None
    watched: bool
    files: tuple[str, ...]


def prepare(
    environ: Mapping[str, str], found: Detection, wanted: tuple[str, ...], link: AgentLink | None
) -> Prepared:
    """Return what the program finds, with its ports held and its files written.

    Raises:
        LaunchError: This process is no rank, or its group cannot be formed.
    """
    placement = found.placement
    if placement is None:
        raise LaunchError(complaint("jobkit exec", found.reason))
    identity = identify(environ)
    translation = _translation(environ, found, placement, identity, wanted, link)
    for path, text in translation.files:
        write_private(path, text)
    program = translate.program_environ(dict(environ), translation)
    program |= outer.record(found.outer, program)
    watched = link is None and found.launcher not in (None, "jobkit", "env")
    paths = tuple(path for path, _ in translation.files)
    return Prepared(program, placement, identity, found.launcher, watched, paths)


def identify(environ: Mapping[str, str]) -> Identity:
    """Return job, attempt and run folder; a program started by hand is a job of its own."""
    job = environ.get(names.JOB) or f"{os.uname().nodename}.{os.getpid()}"
    attempt = environ.get(names.ATTEMPT, "")
    return Identity(job, int(attempt) if attempt.isdigit() else 1, environ.get(names.RUN_DIR, ""))


def _translation(
    environ: Mapping[str, str],
    found: Detection,
    placement: Placement,
    identity: Identity,
    wanted: tuple[str, ...],
    link: AgentLink | None,
) -> Translation:
    if wanted == ("none",):
        return Translation(translate.placement_variables(placement, identity))
    if placement.size == 1:
        return _alone(environ, found, placement, identity, wanted)
    if link is None:
        return _as_found(environ, found, placement, identity)
    from jobkit.env.meeting import meet

    return meet(environ, placement, identity, wanted, link, found.launcher)


def _alone(
    environ: Mapping[str, str],
    found: Detection,
    placement: Placement,
    identity: Identity,
    wanted: tuple[str, ...],
) -> Translation:
    if found.launcher == "env":
        return Translation(translate.placement_variables(placement, identity))
    chosen = settings(environ)
    devices = ""
    if wanted != ("any",) or chosen.gpus_per_rank:
        from jobkit.env.meeting import check_alone

        devices = check_alone(environ, placement, chosen, wanted, found.launcher)
    if found.launcher in translate.WITH_STORE:
        return translate.alone(placement, identity, None, devices)
    port = ports.reserve(ports.EVERY_ADDRESS, ports.REUSEADDR, chosen.ports).port
    return translate.alone(placement, identity, port, devices)


def _as_found(
    environ: Mapping[str, str], found: Detection, placement: Placement, identity: Identity
) -> Translation:
    """Keep what is there: variables set by hand, or by the shim that started this process's parent."""
    contract = {name: environ[name] for name in names.CONTRACT if name in environ}
    if not contract:
        hint = "use --backend none, or start it with jobkit launch"
        wrong = f"{found.reason}, and no way to meet the other ranks is known"
        raise LaunchError(complaint("jobkit exec", wrong, hint=hint))
    met = (names.BACKEND, names.GANG_FILE, names.TOKEN_FILE, names.VICTIM_FILE)
    contract |= {name: environ[name] for name in met if name in environ}
    return Translation({**translate.placement_variables(placement, identity), **contract})
