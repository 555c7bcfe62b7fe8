"""The operations of `jobkit.native` on arrays of JAX, inside `jax.jit` and `jax.grad` too.

While JAX traces a function, an operation becomes an ordered callback, so that all of a compiled function run
in the order of the program. Gradients follow MLX's rules: each rank differentiates its own loss by its own
input. Outside of transformations these are the functions of `jobkit.native`, after those of compiled
functions that have been started.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback

from jobkit.errors import complaint
from jobkit.native import backends, collectives
from jobkit.native.group import Group, peer

Shape = tuple[int, ...]


def all_sum(
    x: Any, *, group: Group | None = None, timeout: float | None = None, scale: float = 1.0
) -> jax.Array:
    """Return the sum over all ranks, times `scale`. Its gradient is passed on, times `scale`."""
    return _reduction("all_sum", x, group, timeout, {} if scale == 1.0 else {"scale": scale})


def all_max(x: Any, *, group: Group | None = None, timeout: float | None = None) -> jax.Array:
    """Return the maximum over all ranks. Its gradient is passed on, whichever rank had it."""
    return _reduction("all_max", x, group, timeout, {})


def all_min(x: Any, *, group: Group | None = None, timeout: float | None = None) -> jax.Array:
    """Return the minimum over all ranks. Its gradient is passed on, whichever rank had it."""
    return _reduction("all_min", x, group, timeout, {})


def all_gather(x: Any, *, group: Group | None = None, timeout: float | None = None) -> jax.Array:
    """Return the arrays of all ranks along axis 0. Its gradient is the part of this rank."""
    group = backends.chosen(group)
    n, rank = group.size(), group.rank()
    shape, joined = jnp.shape(x), _joined(jnp.shape(x), n)
    rule = None if n == 1 else lambda gradient: gradient.reshape(n, *shape)[rank]
    return _operation("all_gather", x, joined, rule, {"group": group, "timeout": timeout})


def sum_scatter(
    x: Any, op: str = "sum", *, group: Group | None = None, timeout: float | None = None, scale: float = 1.0
) -> jax.Array:
    """Return this rank's part of the reduction. It has no gradient."""
    group = backends.chosen(group)
    shape = _part("sum_scatter", jnp.shape(x), group.size())
    options = {"op": op, "group": group, "timeout": timeout, "scale": scale}
    return _operation("sum_scatter", x, shape, None, options)


def broadcast(x: Any, root: int, *, group: Group | None = None, timeout: float | None = None) -> jax.Array:
    """Return rank `root`'s `x`. It has no gradient."""
    group = backends.chosen(group)
    options = {"root": peer(group, "root", root), "group": group, "timeout": timeout}
    return _operation("broadcast", x, jnp.shape(x), None, options)


def all_to_all(x: Any, *, group: Group | None = None, timeout: float | None = None) -> jax.Array:
    """Return what every rank has for this one. Gradients go back the way the blocks came."""
    group = backends.chosen(group)
    _part("all_to_all", jnp.shape(x), group.size())

    def rule(gradient: jax.Array) -> jax.Array:
        return all_to_all(gradient, group=group, timeout=timeout)

    return _operation("all_to_all", x, jnp.shape(x), rule, {"group": group, "timeout": timeout})


def _reduction(
    name: str, x: Any, group: Group | None, timeout: float | None, scale: dict[str, float]
) -> jax.Array:
    """Return the result of an operation that treats every element alike: a batch is one more axis to it."""
    options = {"group": backends.chosen(group), "timeout": timeout, **scale}

    @jax.custom_batching.custom_vmap
    def run(x: Any) -> Any:
        return _called(name, x, jnp.shape(x), options)

    @run.def_vmap
    def mapped(_size: int, in_batched: list[bool], x: Any) -> Any:
        return run(x), in_batched[0]

    if not isinstance(x, jax.core.Tracer):
        return _now(name, x, options)
    return _differentiable(run, lambda gradient: gradient * scale.get("scale", 1))(x)


def _operation(
    name: str, x: Any, shape: Shape, rule: Callable[[Any], Any] | None, options: dict[str, Any]
) -> jax.Array:
    if not isinstance(x, jax.core.Tracer):
        return _now(name, x, options)

    def run(x: Any) -> Any:
        return _called(name, x, shape, options)

    if options["group"].size() == 1:
        return run(x)
    return _differentiable(run, rule or (lambda _: _no_gradient(name)))(x)


def _now(name: str, x: Any, options: dict[str, Any]) -> Any:
    jax.effects_barrier()
    return getattr(collectives, name)(jnp.asarray(x), **options)


def _called(name: str, x: Any, shape: Shape, options: dict[str, Any]) -> Any:
    """Return the result of an operation that runs when the compiled function gets there."""
    if options["group"].core is None:
        return x * options["scale"] if options.get("scale", 1.0) != 1.0 else x

    def run(x: Any) -> Any:
        return getattr(collectives, name)(np.asarray(x), **options)

    return io_callback(run, jax.ShapeDtypeStruct(shape, x.dtype), x, ordered=True)


def _differentiable(run: Callable[[Any], Any], rule: Callable[[Any], Any]) -> Callable[[Any], Any]:
    function = jax.custom_vjp(run)
    function.defvjp(lambda x: (run(x), None), lambda _, gradient: (rule(gradient),))
    return function


def _no_gradient(name: str) -> Any:
    hint = "put jax.lax.stop_gradient around its argument"
    raise TypeError(complaint(name, "no gradient goes through it", hint=hint))


def _joined(shape: Shape, n: int) -> Shape:
    if n == 1:
        return shape
    return (n * shape[0], *shape[1:]) if shape else (n,)


def _part(name: str, shape: Shape, n: int) -> Shape:
    if n > 1 and (not shape or shape[0] % n):
        expected = f"a first dimension divisible by {n} ranks"
        raise ValueError(complaint(name, "cannot be divided", got=shape, expected=expected))
    return (shape[0] // n, *shape[1:]) if n > 1 else shape
