"""Exchange Python objects, between ranks that have proved to belong to the job."""

from __future__ import annotations

import pickle
from typing import Any

from jobkit.errors import BackendError, complaint
from jobkit.native import backends
from jobkit.native.blobs import all_gather_bytes, broadcast_bytes
from jobkit.native.group import Group, peer


def broadcast_object(
    obj: Any, root: int = 0, *, group: Group | None = None, timeout: float | None = None
) -> Any:
    """Return rank `root`'s object, a copy by pickle on the others; what these pass is ignored. Collective.

    Raises:
        ValueError: There is no rank `root`.
        BackendError: The group is not authenticated (unpickling runs what a stranger sent), or a rank failed.
    """
    group = backends.chosen(group)
    root = peer(group, "root", root)
    _check_is_authenticated("broadcast_object", group)
    if group.core is None:
        return obj
    is_root = group.rank() == root
    data = broadcast_bytes(pickle.dumps(obj) if is_root else b"", root, group, timeout)
    return obj if is_root else pickle.loads(data)


def all_gather_object(obj: Any, *, group: Group | None = None, timeout: float | None = None) -> list[Any]:
    """Return every rank's object in rank order, copies by pickle. Collective.

    Raises:
        BackendError: The group is not authenticated (unpickling runs what a stranger sent), or a rank failed.
    """
    group = backends.chosen(group)
    _check_is_authenticated("all_gather_object", group)
    if group.core is None:
        return [obj]
    own = group.rank()
    blobs = all_gather_bytes(pickle.dumps(obj), group, timeout)
    return [obj if rank == own else pickle.loads(blob) for rank, blob in enumerate(blobs)]


def _check_is_authenticated(name: str, group: Group) -> None:
    if not group.is_authenticated:
        wrong = "the ranks of this group have not proved who they are"
        hint = "start the program with `jobkit launch` or `jobkit exec`, which give it JOBKIT_TOKEN_FILE"
        raise BackendError(complaint(name, wrong, expected="an authenticated group", hint=hint))
