"""What is called of libnccl and of the CUDA driver's libcuda: every function with its types.

Sources: nccl.h of NCCL 2.18 to 2.32, and
https://docs.nvidia.com/cuda/cuda-driver-api/index.html.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

from jobkit.errors import BackendError, complaint

# --- NCCL ---

UNIQUE_ID_BYTES = 128
SUCCESS, IN_PROGRESS = 0, 7  # of ncclResult_t
SUM, MAX, MIN = 0, 2, 3  # of ncclRedOp_t
SCALAR_ON_HOST = 1  # of ncclScalarResidence_t
OLDEST = 21800  # version 2.18, the first with all that is called here

# What NCCL reduces, by NumPy's names: of ncclDataType_t.
DATA_TYPES = {
    "int8": 0,
    "uint8": 1,
    "int32": 2,
    "uint32": 3,
    "int64": 4,
    "uint64": 5,
    "float16": 6,
    "float32": 7,
    "float64": 8,
    "bfloat16": 9,
}


class UniqueId(ctypes.Structure):
    """ncclUniqueId, which is passed by value."""

    _fields_ = (("internal", ctypes.c_ubyte * UNIQUE_ID_BYTES),)


_UNDEFINED = -(2**31)


class Config(ctypes.Structure):
    """ncclConfig_t as version 2.18 has it; later ones have more at the end and take a shorter one."""

    _fields_ = (
        ("size", c_size_t),
        ("magic", c_uint),
        ("version", c_uint),
        ("blocking", c_int),
        ("cga_cluster_size", c_int),
        ("min_ctas", c_int),
        ("max_ctas", c_int),
        ("net_name", c_char_p),
        ("split_share", c_int),
    )


def non_blocking() -> Config:
    """Return the configuration of a communicator whose calls return at once."""
    u = _UNDEFINED
    return Config(ctypes.sizeof(Config), 0xCAFEBEEF, OLDEST, 0, u, u, u, None, u)


# ncclComm_t and cudaStream_t are pointers.
NCCL: Mapping[str, Sequence[Any]] = {
    "ncclGetVersion": (POINTER(c_int),),
    "ncclGetUniqueId": (POINTER(UniqueId),),
    "ncclCommInitRankConfig": (POINTER(c_void_p), c_int, UniqueId, c_int, POINTER(Config)),
    "ncclCommFinalize": (c_void_p,),
    "ncclCommDestroy": (c_void_p,),
    "ncclCommAbort": (c_void_p,),
    "ncclCommGetAsyncError": (c_void_p, POINTER(c_int)),
    "ncclGroupStart": (),
    "ncclGroupEnd": (),
    "ncclAllReduce": (c_void_p, c_void_p, c_size_t, c_int, c_int, c_void_p, c_void_p),
    "ncclReduceScatter": (c_void_p, c_void_p, c_size_t, c_int, c_int, c_void_p, c_void_p),
    "ncclAllGather": (c_void_p, c_void_p, c_size_t, c_int, c_void_p, c_void_p),
    "ncclBroadcast": (c_void_p, c_void_p, c_size_t, c_int, c_int, c_void_p, c_void_p),
    "ncclSend": (c_void_p, c_size_t, c_int, c_int, c_void_p, c_void_p),
    "ncclRecv": (c_void_p, c_size_t, c_int, c_int, c_void_p, c_void_p),
    "ncclRedOpCreatePreMulSum": (POINTER(c_int), c_void_p, c_int, c_int, c_void_p),
    "ncclRedOpDestroy": (c_int, c_void_p),
}
NCCL_TEXTS: Mapping[str, Sequence[Any]] = {  # these return a string, the others an ncclResult_t
    "ncclGetErrorString": (c_int,),
    "ncclGetLastError": (c_void_p,),
}

# --- CUDA ---

CUDA_SUCCESS, CUDA_NOT_READY = 0, 600  # of CUresult
EVENT_WITHOUT_TIME = 2  # of CUevent_flags
STREAM_BESIDE_DEFAULT = 1  # of CUstream_flags: does not wait for the default stream
POINTER_DEVICE = 9  # of CUpointer_attribute: the ordinal of the device

# CUdevice is an int, CUcontext, CUstream and CUevent are pointers, CUdeviceptr is 64 bits wide.
CUDA: Mapping[str, Sequence[Any]] = {
    "cuInit": (c_uint,),
    "cuDeviceGetCount": (POINTER(c_int),),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
    "cuDevicePrimaryCtxRelease_v2": (c_int,),
    "cuCtxPushCurrent_v2": (c_void_p,),
    "cuCtxPopCurrent_v2": (POINTER(c_void_p),),
    "cuStreamCreate": (POINTER(c_void_p), c_uint),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuStreamSynchronize": (c_void_p,),
    "cuEventCreate": (POINTER(c_void_p), c_uint),
    "cuEventRecord": (c_void_p, c_void_p),
    "cuEventQuery": (c_void_p,),
    "cuEventDestroy_v2": (c_void_p,),
    "cuMemAlloc_v2": (POINTER(c_uint64), c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemcpyDtoDAsync_v2": (c_uint64, c_uint64, c_size_t, c_void_p),
    "cuMemcpyDtoH_v2": (c_void_p, c_uint64, c_size_t),
    "cuPointerGetAttribute": (c_void_p, c_int, c_uint64),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
}


def declare(library: ctypes.CDLL, path: str, table: Mapping[str, Sequence[Any]], result: Any = c_int) -> None:
    """Give the functions of a library their types.

    Raises:
        BackendError: The library lacks one of them.
    """
    for name, arguments in table.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            expected = "a version that has it"
            raise BackendError(complaint(path, f"has no function {name}", expected=expected)) from None
        function.argtypes = arguments
        function.restype = result
