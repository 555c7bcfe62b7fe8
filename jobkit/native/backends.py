"""Choose the backend of a group and keep the groups that were formed."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from jobkit.errors import BackendError, complaint
from jobkit.native import jaccl, mpi, nccl, ring
from jobkit.native.group import Group
from jobkit.native.settings import integer

# The order in which `any` tries them: what is fastest where it is configured comes first.
BACKENDS: dict[str, ModuleType] = {"nccl": nccl, "ring": ring, "mpi": mpi, "jaccl": jaccl}
NAMES = tuple(BACKENDS)
ANY = "any"

JOBKIT_BACKEND = "JOBKIT_BACKEND"  # what `any` is in this job: 'ring', or several: 'ring,mpi'
SIZES = ("JOBKIT_SIZE", "MLX_WORLD_SIZE")
RANKS = ("JOBKIT_RANK", "MLX_RANK")

_groups: dict[str, Group] = {}  # by backend, and the first one under ANY too
current: Group | None = None  # what `default` returns, once it is known
_alone = Group(None)
_lock = threading.RLock()


def is_available(environ: Mapping[str, str], backend: str) -> bool:
    """Return whether this version can form a group with `backend`; an unknown one is not available."""
    if backend == ANY:
        return any(module.is_available(environ) for module in BACKENDS.values())
    return backend in NAMES and bool(BACKENDS[backend].is_available(environ))


def init(environ: Mapping[str, str], *, strict: bool, backend: str) -> Group:
    """Return the group of `backend`, forming it at the first call. See `jobkit.native.init`."""
    if backend != ANY and backend not in NAMES:
        known = ", ".join((ANY, *sorted(NAMES)))
        raise ValueError(complaint("backend", "unknown name", got=backend, expected=f"one of {known}"))
    with _lock:
        if backend not in _groups:
            _form(environ, strict, backend)
        return _sound(_groups.get(backend, _alone))


def default() -> Group:
    """Return the group that operations use when none is given: that of `init()`.

    A group of one is remembered until a call of `init` forms another, so that the environment is not searched
    at every operation.
    """
    global current
    if current is None:
        from jobkit import native  # only `native` reads the process's environment

        current = native.init()
    return current


def chosen(group: Any) -> Group:
    """Return what was given as `group=`, or `default()` for None.

    Raises:
        TypeError: It is no group of jobkit's.
    """
    if group is None:
        return current or default()
    if not isinstance(group, Group):
        kind = f"{type(group).__module__}.{type(group).__qualname__}"
        expected = "what init or split of jobkit.native returned, or None"
        raise TypeError(complaint("group", "not a group of jobkit.native", got=kind, expected=expected))
    return group


def shutdown() -> None:
    """Leave every group and forget it. A later `init` forms a new one."""
    global current
    with _lock:
        groups = {id(group): group for group in _groups.values()}
        _groups.clear()
        current = None
        for group in groups.values():
            group.close()


def _sound(group: Group) -> Group:
    """Return the group unless it has failed, or is another process's."""
    if group.is_inherited():
        wrong = "its group belongs to the process that forked this one"
        hint = "start children that communicate with `jobkit launch`, leave it to the parent otherwise"
        raise BackendError(complaint(f"backend {group.backend}", wrong, hint=hint))
    failure = group.failure()
    if failure is not None:
        hint = "call `shutdown` on every rank, then `init` forms a new one"
        raise BackendError(
            complaint(f"backend {group.backend}", f"its group has failed: {failure}", hint=hint)
        )
    return group


def _form(environ: Mapping[str, str], strict: bool, backend: str) -> None:
    """Put the group into `_groups`, or nothing where this process is alone."""
    global current
    names = _candidates(environ, backend)
    placed = _placed_size(environ)
    is_several = placed > 1 or (placed == 0 and _shows_others(environ))
    must = is_several or (strict and placed != 1)
    for name in names:
        group = _groups.get(name) or BACKENDS[name].init(environ, must and len(names) == 1)
        if group is not None:
            if not _groups:
                atexit.register(shutdown)
            _groups[name] = group
            current = _groups.setdefault(ANY, group)
            return
    if must:
        raise BackendError(_not_configured(names, is_several, placed))


def _placed_size(environ: Mapping[str, str]) -> int:
    """Return how many ranks the environment counts, 0 where it says nothing."""
    for name in SIZES:
        size = integer(environ, name)
        if size is not None:
            return size
    return 0


def _shows_others(environ: Mapping[str, str]) -> bool:
    """Return whether an environment that counts no ranks is still that of one among several."""
    is_not_the_first = any((integer(environ, name) or 0) > 0 for name in RANKS)
    return is_not_the_first or any(module.is_configured(environ) for module in BACKENDS.values())


def _not_configured(names: tuple[str, ...], is_several: bool, placed: int) -> str:
    """Return the complaint where a group of one would be a lie, or is not wanted."""
    where = f"backend {' or '.join(names)}"
    hint = "start the program with `jobkit launch` or `jobkit exec`, with a backend other than none"
    if is_several:
        wrong = f"there are {placed or 'several'} ranks, but nothing says where they meet"
        return complaint(where, wrong, expected=f"a group of {placed or 'them'}", hint=hint)
    return complaint(where, "not configured", expected="a group, since strict is on", hint=hint)


def _candidates(environ: Mapping[str, str], backend: str) -> tuple[str, ...]:
    if backend != ANY:
        return (backend,)
    named = [name.strip() for name in environ.get(JOBKIT_BACKEND, "").split(",")]
    chosen = tuple(
        "jaccl" if name == "jaccl-ring" else name for name in named if name not in ("", ANY, "none")
    )
    unknown = [name for name in chosen if name not in NAMES]
    if unknown:
        known = ", ".join(sorted(NAMES))
        raise BackendError(
            complaint(JOBKIT_BACKEND, "unknown name", got=unknown[0], expected=f"one of {known}")
        )
    return chosen or NAMES
