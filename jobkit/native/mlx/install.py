"""Make the bundled engine what `mx.distributed` uses."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from jobkit import native
from jobkit.errors import complaint
from jobkit.native.mlx import eager, groups
from jobkit.native.mlx.ops import MLX


def install() -> None:
    """Make the bundled engine what `mx.distributed` uses, so that mlx.nn and mlx-lm run on it unmodified.

    `init` and `is_available` are replaced; the operations get its group where none is given. Idempotent.
    """
    mx.distributed.init = init
    mx.distributed.is_available = is_available
    for name, operation in MLX.items():
        setattr(mx.distributed, name, _with_group(name, operation))


def init(strict: bool = False, backend: str = "any", *, all_gather_factory: Any = None) -> Any:
    """Return `jobkit.native.init(strict, backend)` as a `mx.distributed.Group`, always the same one.

    Raises:
        TypeError: `all_gather_factory` is not callable.
        ValueError: `backend` is unknown, or an `all_gather_factory` is given: the engine meets by itself.
    """
    if all_gather_factory is not None:
        if not callable(all_gather_factory):
            raise TypeError(complaint("init: all_gather_factory", "not callable", got=all_gather_factory))
        raise ValueError(complaint("init", "all_gather_factory: not for the bundled engine", expected="None"))
    groups.bridge()  # built before the ranks meet, so that none waits there for a compiler
    return groups.group(native.init(strict=strict, backend=backend))


def is_available(backend: str = "any") -> bool:
    """Return whether a group of `backend` can be formed."""
    return native.is_available(backend)


def _with_group(name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
    """Return an operation of mx.distributed with the engine's group as its default."""

    @functools.wraps(operation)
    def call(*args: Any, group: Any = None, stream: Any = None, **named: Any) -> Any:
        group = init() if group is None else group
        if isinstance(group, eager.EagerGroup):
            return getattr(eager, name)(*args, group=group, **named)
        return operation(*args, group=group, stream=stream, **named)

    return call
