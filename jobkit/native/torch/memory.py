"""Read PyTorch's tensors where they lie, and make tensors of results."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any, NoReturn

import torch

from jobkit.errors import complaint
from jobkit.native import arrays
from jobkit.native.arrays import Array

# Plain memory. What libraries and users make of a tensor otherwise may mean more by it.
PLAIN = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)


def array(x: torch.Tensor) -> Array:
    """Return the memory of a tensor as NumPy sees it: of the tensor's shape, strides and type, no copy.

    A tensor that requires grad is read where gradients are off (`torch.no_grad`).

    Raises:
        TypeError: It is on another device, sparse, quantized, a subclass with a meaning of its own, of a type
            that is not served, or requires grad.
    """
    if type(x) in PLAIN:
        with contextlib.suppress(TypeError, RuntimeError):  # raised by whatever is out of the ordinary
            if x.dtype is torch.bfloat16 and not x.requires_grad:
                return _bfloat16(x)
            return x.numpy()
    return _unusual(x)


def has_gradient(x: torch.Tensor) -> bool:
    """Return whether what is made of `x` belongs to the graph of gradients."""
    return x.requires_grad and torch.is_grad_enabled()


def result(data: Array) -> torch.Tensor:
    """Return a result as a tensor that shares its memory."""
    if data.dtype.kind == "V":  # bfloat16, no type of NumPy's own
        return torch.from_numpy(data.view("uint16")).view(torch.bfloat16)
    return torch.from_numpy(data)


def writable(name: str, out: torch.Tensor) -> tuple[Array, Callable[[], torch.Tensor]]:
    """Return memory that a result is written to, and what is called then: it returns `out`.

    The memory is the tensor's own, or, where that holds other values than the tensor has (a conjugate or a
    negative that is computed when it is read), a copy. Autograd learns of it, as of operations in place.

    Raises:
        TypeError: It cannot be read either, requires grad, or several of its elements are one place.
    """
    data = array(out)
    if not data.flags.c_contiguous and any(
        stride == 0 and n > 1 for stride, n in zip(data.strides, data.shape, strict=True)
    ):
        expected = "a tensor with a place for each element"
        raise TypeError(complaint(f"{name}: out", "cannot be written: it is expanded", expected=expected))

    def finish() -> torch.Tensor:
        if out.is_conj() or out.is_neg():
            out.detach().copy_(result(data))
        return written(out)

    return data, finish


def is_on_device(x: torch.Tensor) -> bool:
    """Return whether a tensor is in the memory of a CUDA device."""
    return x.device.type == "cuda"


def device_array(x: torch.Tensor) -> tuple[torch.Tensor, int, int]:
    """Return a tensor with the values of `x` in C's order, its address, and the stream that it is used on.

    It is `x` itself, detached, where that is so already.

    Raises:
        TypeError: It is sparse, quantized, a subclass with a meaning of its own, or requires grad.
    """
    if type(x) not in PLAIN:
        _refuse_subclass(x)
    check(x, "cuda")
    if has_gradient(x):
        _refuse_gradient(x)
    plain = x.detach().resolve_conj().resolve_neg().contiguous()
    return plain, plain.data_ptr(), torch.cuda.current_stream(x.device).cuda_stream


def device_result(like: torch.Tensor, shape: tuple[int, ...], name: str) -> tuple[torch.Tensor, int, int]:
    """Return a new tensor where `like` is, of the element type `name`, its address and stream."""
    return device_array(torch.empty(shape, dtype=getattr(torch, name), device=like.device))


def converted(x: torch.Tensor, name: str) -> torch.Tensor:
    """Return a tensor as one of the element type `name`."""
    return x.to(getattr(torch, name))


def written(out: torch.Tensor) -> torch.Tensor:
    """Return `out`, whose memory was written. Autograd learns of it, as of operations in place."""
    torch.autograd.graph.increment_version(out)
    return out


def element_type(dtype: torch.dtype) -> str:
    """Return what NumPy calls a type of PyTorch's."""
    return str(dtype).removeprefix("torch.")


def check(x: torch.Tensor, device: str = "cpu") -> None:
    """Raise TypeError unless a tensor is memory of such a device, with a place for each element."""
    if torch._C._functorch.is_functorch_wrapped_tensor(x):
        hint = "call it outside of the function that is transformed"
        _refuse("it stands for others inside a transformation of torch.func", x, "a tensor of its own", hint)
    if x.layout is not torch.strided:
        _refuse(f"of layout {x.layout}", x, "a dense tensor", "x.to_dense()")
    if x.is_nested:
        _refuse("nested", x, "a tensor of one shape", "pass its parts: x.unbind()")
    if x.is_quantized:
        _refuse("quantized", x, "a tensor of plain numbers", "x.dequantize(), or x.int_repr()")
    if x.device.type == "meta":
        _refuse("it has no memory", x, "a tensor on the CPU", "torch.empty_like(x, device='cpu')")
    if x.device.type != device:
        _refuse("in the memory of a device", x, "a tensor on the CPU", "x.cpu(), and .to(x.device) after")


def _unusual(x: torch.Tensor) -> Array:
    if type(x) not in PLAIN:
        _refuse_subclass(x)
    check(x)
    if x.requires_grad:
        if torch.is_grad_enabled():
            _refuse_gradient(x)
        x = x.detach()
    x = x.resolve_conj().resolve_neg()
    if x.dtype == torch.bfloat16:
        return _bfloat16(x)
    arrays.element_type(element_type(x.dtype))  # raises for those that are not served
    return x.numpy()


def _bfloat16(x: torch.Tensor) -> Array:
    return x.view(torch.uint16).numpy().view(_bfloat16_type())


@functools.cache
def _bfloat16_type() -> Any:
    return arrays.element_type("bfloat16")


def _refuse_subclass(x: torch.Tensor) -> NoReturn:
    hint = "pass what this rank has of it: x.to_local() for a DTensor"
    _refuse(f"a {type(x).__name__} is more than its memory", x, "a plain tensor", hint)


def _refuse_gradient(x: torch.Tensor) -> NoReturn:
    hint = "pass x.detach(), or call it under torch.no_grad()"
    _refuse("no gradient goes through here", x, "a tensor that does not require grad", hint)


def _refuse(wrong: str, x: torch.Tensor, expected: str, hint: str) -> NoReturn:
    where = f"{element_type(x.dtype)} tensor on {x.device}"
    raise TypeError(complaint(where, wrong, expected=expected, hint=hint))
