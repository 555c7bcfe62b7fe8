"""JAX's arrays as what operations read and return."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jobkit.native as dist
from jobkit.native import arrays

jax.config.update("jax_platforms", "cpu")
NARROW = [name for name in arrays.DTYPES if name not in ("uint64", "int64", "float64")]


def round_trip(x: Any, out: Any = None) -> Any:
    """Return what a caller gets back from an operation that changes nothing."""
    source = arrays.operand(x)
    target = arrays.target("copy", source, source.data.shape, out)
    np.copyto(target.data, source.data)
    return target.result()


@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("shape", [(2, 3), (), (0, 2)], ids=str)
def test_every_type_comes_back_an_array_of_jax(name: str, shape: tuple[int, ...]) -> None:
    x = jnp.ones(shape, name)
    assert (arrays.type_name(x), arrays.shape_of(x)) == (name, shape)
    again = round_trip(x)
    assert isinstance(again, jax.Array)
    assert (again.dtype, again.shape) == (x.dtype, shape)
    assert (again == x).all()


def test_types_of_64_bits_are_served_where_jax_has_them() -> None:
    with jax.enable_x64(True):
        for name in ("uint64", "int64", "float64"):
            x = jnp.ones(3, name) / 3 if name == "float64" else jnp.full(3, 2**40, name)
            again = round_trip(x)
            assert again.dtype == x.dtype
            assert (again == x).all()


def test_an_array_is_read_where_it_lies() -> None:
    x = jnp.arange(1024.0)
    assert arrays.operand(x).data.__array_interface__["data"][0] == x.unsafe_buffer_pointer()


def test_a_tracer_is_refused_with_the_name_of_what_serves_it() -> None:
    for transform in (jax.jit, jax.grad, jax.vmap):
        with pytest.raises(TypeError, match=r"jobkit\.native\.jax"):
            transform(lambda x: dist.all_sum(x, out=None).sum())(jnp.ones(2))


def test_out_is_refused_since_arrays_of_jax_are_immutable() -> None:
    with pytest.raises(TypeError, match=r"all_sum: out: cannot be written: .* immutable"):
        arrays.target("all_sum", arrays.operand(jnp.ones(2)), (2,), jnp.ones(2))


def test_keys_of_random_numbers_are_refused() -> None:
    with pytest.raises(TypeError, match="dtype: "):
        arrays.operand(jax.random.key(0))


def test_an_array_on_several_devices_is_refused_with_the_remedy() -> None:
    program = """
import jax, jax.numpy as jnp
from jobkit.native import arrays
mesh = jax.make_mesh((2,), ("x",))
x = jax.device_put(jnp.ones(4), jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x")))
try:
    arrays.operand(x)
except TypeError as error:
    assert "on 2 devices" in str(error) and "x.addressable_data(0)" in str(error)
    assert arrays.operand(x.addressable_data(0)).data.tolist() == [1, 1]
else:
    raise SystemExit("served")
"""
    environ = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", program], env={**os.environ, **environ}, check=True, timeout=120)


def test_an_array_of_a_device_is_refused_with_the_remedy() -> None:
    class Device:
        platform = "cuda"

    class OnDevice:
        def devices(self) -> set[Any]:
            return {Device()}

    from jobkit.native.jax import memory

    with pytest.raises(TypeError, match=r"(?s)got 'cuda'.*jax.device_get\(x\)"):
        memory.array(OnDevice())


def test_operations_of_a_group_give_arrays_of_jax(run_ranks: Any) -> None:
    def program(group: Any) -> Any:
        r = group.rank()
        x = jnp.full((2,), r + 1, jnp.bfloat16)
        found = [
            dist.all_sum(x, group=group),
            dist.sum_scatter(x, group=group),
            dist.all_gather(x[:1], group=group),
            dist.broadcast(x, 1, group=group),
            dist.sendrecv(x, 1 - r, 1 - r, group=group),
            dist.average_gradients({"w": x}, group)["w"],
        ]
        assert all(isinstance(each, jax.Array) and each.dtype == jnp.bfloat16 for each in found)
        if r:
            dist.send(x, 0, group=group)
        else:
            found.append(dist.recv((2,), jnp.bfloat16, 1, like=x, group=group))
            assert isinstance(found[-1], jax.Array)
        return [each.tolist() for each in found[:6]]

    shared = [[3, 3], [3], [1, 2], [2, 2]]
    assert run_ranks(2, program) == [[*shared, [2 - r, 2 - r], [1.5, 1.5]] for r in range(2)]


def test_a_group_of_one_returns_the_array_itself() -> None:
    x = jnp.ones(2)
    assert dist.all_sum(x) is x
