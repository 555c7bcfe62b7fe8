"""JAX arrays on groups of the bundled engine, inside `jax.jit`, `jax.grad` and, some, `jax.vmap` too.

Outside of these, arrays of JAX may be passed to `jobkit.native` as any others.
"""

from jobkit.native.jax.ops import (
    all_gather,
    all_max,
    all_min,
    all_sum,
    all_to_all,
    broadcast,
    sum_scatter,
)

__all__ = ["all_gather", "all_max", "all_min", "all_sum", "all_to_all", "broadcast", "sum_scatter"]
