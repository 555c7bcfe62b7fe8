"""PyTorch's tensors as what operations read and write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import jobkit.native as dist
from jobkit.native import arrays

TYPES = [getattr(torch, name) for name in arrays.DTYPES]


class Special(torch.Tensor):
    """What a library may make of a tensor."""


def round_trip(x: Any, out: Any = None) -> Any:
    """Return what a caller gets back from an operation that changes nothing."""
    source = arrays.operand(x)
    target = arrays.target("copy", source, source.data.shape, out)
    np.copyto(target.data, source.data)
    return target.result()


@pytest.mark.parametrize("dtype", TYPES, ids=arrays.DTYPES)
def test_every_type_is_read_where_it_lies_and_comes_back_a_tensor(dtype: torch.dtype) -> None:
    x = torch.arange(6).reshape(2, 3).to(dtype)
    source = arrays.operand(x)
    assert arrays.DTYPES[source.code] == arrays.type_name(x) == str(dtype).removeprefix("torch.")
    assert source.data.__array_interface__["data"][0] == x.data_ptr()
    again = round_trip(x)
    assert (type(again), again.dtype, again.data_ptr() == x.data_ptr()) == (torch.Tensor, dtype, False)
    assert torch.equal(again, x)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x.mT,
        lambda x: x[:, ::2],
        lambda x: x[0, 1, 2, 3],
        lambda x: x[:0],
        lambda x: x[0, 0, 0].expand(5, 4),
        lambda x: x.contiguous(memory_format=torch.channels_last),
        lambda x: torch.nn.Buffer(x),
    ],
    ids=["transposed", "strided", "0-d", "empty", "expanded", "channels last", "buffer"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.bool], ids=str)
def test_any_layout_is_read_in_the_order_of_its_indices(
    make: Callable[[torch.Tensor], torch.Tensor], dtype: torch.dtype
) -> None:
    x = make((torch.arange(24) % 5).reshape(1, 2, 3, 4).to(dtype))
    again = round_trip(x)
    assert again.shape == x.shape
    assert torch.equal(again, x)


def test_conjugates_and_negatives_are_resolved() -> None:
    x = torch.tensor([1 + 2j, 3 - 4j], dtype=torch.complex64)
    assert torch.equal(round_trip(x.conj()), x.conj().resolve_conj())
    assert torch.equal(round_trip(x.conj().imag), torch.tensor([-2.0, 4.0]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_out_is_written_where_it_lies_and_returned(dtype: torch.dtype) -> None:
    x, out = torch.arange(6).reshape(2, 3).to(dtype), torch.zeros(2, 3, dtype=dtype)
    assert round_trip(x, out) is out
    assert torch.equal(out, x)


def test_out_may_be_the_input_or_another_layout_or_kind() -> None:
    x = torch.arange(6.0).reshape(2, 3)
    assert round_trip(x, x) is x
    turned = torch.zeros(3, 2).T
    assert round_trip(x, turned) is turned
    assert torch.equal(turned, x)
    array = np.zeros((2, 3), np.float32)
    assert round_trip(x, array) is array
    assert round_trip(array, torch.ones(2, 3)).tolist() == array.tolist()


@pytest.mark.parametrize(
    "view", [torch.Tensor.conj, lambda x: x.mT.conj(), lambda x: x.conj().imag], ids=["conj", "mH", "neg"]
)
def test_out_may_be_a_conjugate_or_negative_that_is_computed_when_it_is_read(
    view: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    out = view(torch.zeros(2, 2, dtype=torch.complex64))
    x = view(torch.tensor([[1 + 2j, 3 - 4j], [5j, 6]], dtype=torch.complex64))
    assert round_trip(x, out) is out
    assert torch.equal(out, x)
    assert round_trip(x * 2, x) is x
    assert torch.equal(x, out * 2)


def test_autograd_learns_that_out_was_written() -> None:
    x = torch.ones(2, requires_grad=True)
    factor = torch.ones(2)
    product = x * factor
    round_trip(torch.zeros(2), factor)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()


@pytest.mark.parametrize(
    ("out", "error", "wrong"),
    [
        (torch.zeros(3), ValueError, "wrong shape"),
        (torch.zeros(2, dtype=torch.float64), ValueError, "wrong type"),
        (torch.zeros(1).expand(2), TypeError, "expanded"),
        (torch.zeros(2, requires_grad=True), TypeError, "torch.no_grad()"),
        (torch.zeros(2, device="meta"), TypeError, "no memory"),
    ],
    ids=["shape", "type", "expanded", "requires grad", "meta"],
)
def test_what_cannot_be_written_is_refused(out: torch.Tensor, error: type[Exception], wrong: str) -> None:
    with pytest.raises(error, match=wrong):
        round_trip(torch.ones(2), out)


def test_out_that_overlaps_the_input_in_part_is_refused() -> None:
    memory = torch.arange(8.0)
    with pytest.raises(ValueError, match="overlaps the input in part"):
        round_trip(memory[:4], memory[2:6])


@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (lambda: torch.ones(2, requires_grad=True), "x.detach()"),
        (lambda: torch.ones(2, requires_grad=True, dtype=torch.bfloat16), "x.detach()"),
        (lambda: torch.ones(2, device="meta", dtype=torch.bfloat16), "torch.empty_like"),
        (lambda: torch.ones(2, device="meta"), "torch.empty_like"),
        (lambda: torch.ones(2).to_sparse(), "x.to_dense()"),
        (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "x.unbind()"),
        (lambda: torch.ones(2, dtype=torch.complex128), "expected one of bool"),
        (lambda: torch.ones(2).to(torch.float8_e4m3fn), "expected one of bool"),
        (lambda: torch.ones(2).as_subclass(Special), "x.to_local()"),
    ],
    ids=[
        "requires grad",
        "bf16 requires grad",
        "bf16 meta",
        "meta",
        "sparse",
        "nested",
        "complex128",
        "float8",
        "subclass",
    ],
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_what_is_not_served_is_refused_with_the_remedy(make: Callable[[], Any], remedy: str) -> None:
    with pytest.raises(TypeError) as caught:
        arrays.operand(make())
    assert remedy in str(caught.value)


def test_what_stands_for_other_tensors_is_refused_with_the_remedy() -> None:
    with pytest.raises(TypeError, match=r"torch\.func.*\n\nhint: call it outside of the function"):
        torch.vmap(round_trip)(torch.ones(3))


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_a_quantized_tensor_is_refused_with_the_remedy() -> None:
    with pytest.raises(TypeError, match=r"x\.dequantize"):
        arrays.operand(torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8))


def test_a_parameter_is_read_and_written_where_gradients_are_off() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    with torch.no_grad():
        assert arrays.operand(parameter).data.__array_interface__["data"][0] == parameter.data_ptr()
        assert round_trip(torch.zeros(2), parameter) is parameter
    assert parameter.tolist() == [0, 0]


def test_type_and_shape_are_known_of_any_tensor() -> None:
    x = torch.ones(2, 3, requires_grad=True, device="meta", dtype=torch.bfloat16)
    assert (arrays.type_name(x), arrays.shape_of(x), arrays.is_array(x)) == ("bfloat16", (2, 3), True)


def test_what_is_received_is_a_tensor_where_the_type_or_the_example_is() -> None:
    for made in (arrays.empty((2,), torch.bfloat16), arrays.empty((2,), "bfloat16", torch.ones(1))):
        again = made.finish(made.data)
        assert (type(again), again.dtype, again.shape) == (torch.Tensor, torch.bfloat16, (2,))


def test_a_group_of_one_returns_the_tensor_itself() -> None:
    x = torch.ones(2, requires_grad=True)
    assert dist.all_sum(x) is x
    assert dist.all_gather(x) is x


def test_operations_of_a_group_give_tensors(run_ranks: Any) -> None:
    def program(group: Any) -> Any:
        n, r = group.size(), group.rank()
        x = torch.full((n,), float(r + 1), dtype=torch.bfloat16)
        out = torch.empty_like(x)
        assert dist.all_sum(x, group=group, out=out, scale=0.5) is out
        peer = (r + 1) % n
        found = [
            dist.all_sum(x, group=group),
            out,
            dist.sum_scatter(x, group=group),
            dist.all_gather(x[:1], group=group),
            dist.broadcast(x, 1, group=group),
            dist.all_to_all(x, group=group),
            dist.scatter(x, 0, group=group),
            dist.sendrecv(x, peer, peer, group=group),
        ]
        assert all(type(each) is torch.Tensor for each in found)
        return [each.tolist() for each in found]

    first, second = run_ranks(2, program)
    assert first == [[3, 3], [1.5, 1.5], [3], [1, 2], [2, 2], [1, 2], [1], [2, 2]]
    assert second == [[3, 3], [1.5, 1.5], [3], [1, 2], [2, 2], [1, 2], [1], [1, 1]]


def test_trees_of_tensors_are_averaged_and_compared(run_ranks: Any) -> None:
    def program(group: Any) -> Any:
        r = group.rank()
        tree = {"a": torch.full((2, 2), float(r)), "b": [torch.full((3,), r, dtype=torch.bfloat16)]}
        mean = dist.average_gradients(tree, group)
        half = dist.average_gradients(tree, group, 0, torch.float16)
        dist.assert_same(mean, group=group)
        same = dist.broadcast_tree(tree, 1, group=group)
        return [
            (type(x), x.dtype, x.flatten()[0].item()) for t in (mean, half, same) for x in (t["a"], *t["b"])
        ]

    types = [(torch.Tensor, torch.float32), (torch.Tensor, torch.bfloat16)]
    expected = [(*kind, value) for value in (0.5, 0.5, 1.0) for kind in types]
    assert run_ranks(2, program) == [expected] * 2
