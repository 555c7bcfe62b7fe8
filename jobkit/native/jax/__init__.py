"""JAX arrays on groups of the bundled engine, inside `jax.jit` too."""
