"""The shim: from the environment that a launcher left to the program, in order."""

from __future__ import annotations

import os

from jobkit.env import names, outer, ports, presence, translate
from jobkit.env.data import dataclass
from jobkit.env.detect import Detection
from jobkit.env.files import remove, write_private
from jobkit.env.placement import Placement
from jobkit.env.settings import settings
from jobkit.env.translate import Identity, Translation
from jobkit.errors import LaunchError, complaint

_LONGEST_NAME = 200

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobkit.env.gang import AgentLink
    from jobkit.env.tcp.link import TcpLink


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
        presence: The descriptor that holds its place among the records, -1 without one.
    """

    environ: dict[str, str]
    placement: Placement
    identity: Identity
    launcher: str | None
    watched: bool
    files: tuple[str, ...]
    presence: int = -1


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
    identity = identify(environ, found)
    meets = _meets(environ, found, placement, wanted, link)
    watched = link is None and (meets or found.launcher not in (None, "jobkit", "env"))
    place = -1
    files: tuple[str, ...] = ()
    if watched and found.launcher != "jobkit":
        place = presence.take(identity, placement.rank)
        files = (f"{identity.folder}/{presence.ALIVE}",)
    try:
        placement, translation = _translation(environ, found, placement, identity, wanted, link)
        files += tuple(path for path, _ in translation.files)
        for path, text in translation.files:
            write_private(path, text)
    except BaseException:
        if watched:
            remove(files, identity.run_dir)
        raise
    if place >= 0 and placement.rank == 0:
        presence.forget_beyond(identity, placement.size)
    program = translate.program_environ(dict(environ), translation)
    program |= outer.record(found.outer, program)
    return Prepared(program, placement, identity, found.launcher, watched, files, place)


def identify(environ: Mapping[str, str], found: Detection) -> Identity:
    """Return job, attempt and run folder; a program started by hand is a job of its own.

    A launcher inside a jobkit rank has a job of its own too, with another folder.
    """
    alone = f"{os.uname().nodename}.{os.getpid()}"
    text = environ.get(names.ATTEMPT, "")
    attempt = int(text) if text.isdigit() else 1
    if found.found is None or found.launcher in (None, "jobkit"):
        p = found.placement
        files = translate.gang_folder(p.node, p.nodes) if p else "gang"
        return Identity(environ.get(names.JOB) or alone, attempt, environ.get(names.RUN_DIR, ""), files)
    from jobkit.env.home import home
    from jobkit.env.tcp.rendezvous import job_name

    given = outside(environ, found)
    job = given.get(names.JOB) or job_name(given, found.found) or alone
    place = given.get(names.RUN_DIR) or f"{home(environ)}/jobs/{_file_name(job)}"
    if names.ATTEMPT not in given:
        attempt = found.found.attempt
    return Identity(job, attempt, place, f"rank-{found.found.placement.rank}.gang")


def outside(environ: Mapping[str, str], found: Detection) -> Mapping[str, str]:
    """Return what was said from outside of this job: inside a jobkit rank its own variables are another's."""
    if names.RANK not in environ or found.launcher == "jobkit":
        return environ
    return {name: value for name, value in environ.items() if name not in names.OWN}


def _file_name(job: str) -> str:
    """Return a name for a folder: `torchrun-a/b:1` → `torchrun-a_b_1`, `..` → `job-..`."""
    name = "".join(c if c.isalnum() or c in "-._" else "_" for c in job)[:_LONGEST_NAME]
    return f"job-{name}" if name.startswith(".") else name


def _translation(
    environ: Mapping[str, str],
    found: Detection,
    placement: Placement,
    identity: Identity,
    wanted: tuple[str, ...],
    link: AgentLink | None,
) -> tuple[Placement, Translation]:
    if wanted == ("none",):
        return placement, Translation(translate.placement_variables(placement, identity))
    if placement.size == 1:
        return placement, _alone(environ, found, placement, identity, wanted)
    if not _meets(environ, found, placement, wanted, link):
        return placement, _as_found(environ, placement, identity)
    from jobkit.env.meeting import meet

    return meet(environ, placement, identity, wanted, _way(environ, found, link), found.launcher)


def _meets(
    environ: Mapping[str, str],
    found: Detection,
    placement: Placement,
    wanted: tuple[str, ...],
    link: AgentLink | None,
) -> bool:
    """Say whether this rank has others, and has yet to meet them."""
    has_met = link is None and any(name in environ for name in names.CONTRACT) and _is_placed(found)
    return placement.size > 1 and wanted != ("none",) and not has_met


def _is_placed(found: Detection) -> bool:
    """Say whether the contract's variables are this rank's own, and nothing stale."""
    return found.launcher in ("jobkit", "env")


def _way(environ: Mapping[str, str], found: Detection, link: AgentLink | None) -> AgentLink | TcpLink:
    """Return this rank's way to the others: its agent, where that has them all, else the network."""
    assert found.found is not None
    over_tcp = names.COORDINATOR in environ or names.SHARED_DIR in environ
    if link is not None and (found.found.placement.nodes == 1 or not over_tcp):
        return link
    from jobkit.env.tcp.link import TcpLink

    given = outside(environ, found)
    shared = given.get(names.RUN_DIR if link is None else names.SHARED_DIR, "")
    return TcpLink(given, found.found, settings(given), shared)


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


def _as_found(environ: Mapping[str, str], placement: Placement, identity: Identity) -> Translation:
    """Keep what is there: variables set by hand, or by the shim that started this process's parent."""
    met = (*names.CONTRACT, names.BACKEND, names.GANG_FILE, names.TOKEN_FILE, names.VICTIM_FILE)
    kept = {name: environ[name] for name in met if name in environ}
    return Translation({**translate.placement_variables(placement, identity), **kept})
