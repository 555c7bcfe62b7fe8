"""Turn a group of the engine into the group that MLX knows."""

from __future__ import annotations

import functools
import os
import warnings
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

import mlx.core as mx

from jobkit.errors import BackendError, complaint
from jobkit.native.group import Group, seconds
from jobkit.native.mlx import build, eager, interrupts

_bridges: weakref.WeakKeyDictionary[Group, Any] = weakref.WeakKeyDictionary()
_groups: weakref.WeakKeyDictionary[Group, dict[tuple[Any, ...], Any]] = weakref.WeakKeyDictionary()


@functools.cache
def bridge() -> ModuleType | None:
    """Return the compiled bridge; None, with one warning, where nothing can be compiled.

    Raises:
        BackendError: It cannot be built although there is a compiler, or does not fit this process.
    """
    try:
        return build.load(os.environ)
    except build.NoCompilerError as error:
        text = f"MLX arrays communicate eagerly, without compile and vmap: {error}"
        warnings.warn(text, RuntimeWarning, stacklevel=2)
        return None


def group(native: Group, *, timeout: float | None = None, tag: int = 0) -> Any:
    """Return the `mx.distributed.Group` of a group, always the same one.

    Without a compiler it is an `eager.EagerGroup`, which the operations here understand and, after `install`,
    those of `mx.distributed`.

    Args:
        native: The group.
        timeout: Seconds for each operation; None for the group's own.
        tag: Of send and recv.
    """
    made = _groups.setdefault(native, {})
    key = (seconds(timeout), tag)
    if key not in made:
        made[key] = _new_group(native, *key)
    return made[key]


def variant(native: Group, kind: str, *numbers: Any, timeout: float | None = None) -> Any:
    """Return a group of MLX's in which an operation of MLX's means another one; always the same one.

    Args:
        native: The group, of two ranks at least.
        kind: The method of the bridge that makes it: "broadcasting", "exchanging", "scattering".
        numbers: Its arguments after the timeout.
        timeout: Seconds for each operation; None for the group's own.

    Returns:
        The group, None where there is no bridge.
    """
    compiled = bridge()
    if compiled is None:
        return None
    made = _groups.setdefault(native, {})
    key = (kind, seconds(timeout), *numbers)
    if key not in made:
        interrupts.watch(native, compiled.operations_running)
        made[key] = _checked(getattr(_bridge_of(native, compiled), kind)(seconds(timeout), *numbers))
    return made[key]


def eager_group(native: Group, *, timeout: float | None = None, tag: int = 0) -> eager.EagerGroup:
    """Return the group for operations that run when they are called, in turn with those of MLX's streams."""
    return eager.EagerGroup(native, seconds(timeout), tag, turn(native))


def turn(native: Group) -> Callable[[], AbstractContextManager[Any]]:
    """Return what makes a context in which Python uses the engine in turn with MLX's streams."""
    compiled = bridge()
    if compiled is None or native.core is None:
        return nullcontext
    make: Callable[[], AbstractContextManager[Any]] = _bridge_of(native, compiled).turn
    return make


def _new_group(native: Group, timeout_s: float, tag: int) -> Any:
    compiled = bridge()
    if compiled is None:
        return eager.EagerGroup(native, timeout_s, tag)
    if native.core is None:
        return _checked(compiled.group_of_one())
    interrupts.watch(native, compiled.operations_running)
    return _checked(_bridge_of(native, compiled).group(timeout_s, tag))


def _bridge_of(native: Group, compiled: ModuleType) -> Any:
    if native not in _bridges:
        from jobkit.native import _core

        assert native.core is not None, "a group of one has no bridge"
        _bridges[native] = compiled.Bridge(_core.c_api(), native.core.handle())
        native.turn = _bridges[native].turn
    return _bridges[native]


def _checked(made: Any) -> Any:
    if not isinstance(made, mx.distributed.Group):
        raise BackendError(
            complaint("the bridge to MLX", "mlx does not know its groups", got=type(made).__name__)
        )
    return made
