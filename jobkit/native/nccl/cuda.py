"""The few things that are asked of the CUDA driver, with errors for its codes."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator, Mapping
from ctypes import byref, c_char_p, c_int, c_uint64, c_void_p

from jobkit.errors import BackendError, complaint
from jobkit.native.nccl import prototypes

LIBRARY = "JOBKIT_CUDA_LIB"
NAME = "libcuda.so.1"
_HINT = "this needs an NVIDIA GPU with its driver"


def driver(environ: Mapping[str, str]) -> Driver:
    """Return the driver: the libcuda that the loader finds, or JOBKIT_CUDA_LIB names.

    Raises:
        BackendError: There is none, or it cannot start.
    """
    return _driver(environ.get(LIBRARY) or NAME)


class Driver:
    """CUDA's driver, ready for use."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self.call("cuInit", 0)

    def call(self, name: str, *arguments: object) -> None:
        """Call a function.

        Raises:
            BackendError: It did not succeed.
        """
        status = getattr(self._library, name)(*arguments)
        if status != prototypes.CUDA_SUCCESS:
            raise BackendError(complaint(f"CUDA: {name}", self.text(status)))

    def text(self, status: int) -> str:
        """Return what a CUresult means."""
        found = c_char_p()
        self._library.cuGetErrorString(status, byref(found))
        return (found.value or b"unknown error").decode(errors="replace") + f" ({status})"

    def n_devices(self) -> int:
        """Return how many devices CUDA_VISIBLE_DEVICES leaves."""
        count = c_int()
        self.call("cuDeviceGetCount", byref(count))
        return count.value

    def is_complete(self, event: int) -> bool:
        """Return whether everything before the event has been done.

        Raises:
            BackendError: Something before it has failed.
        """
        status = self._library.cuEventQuery(event)
        if status == prototypes.CUDA_NOT_READY:
            return False
        if status != prototypes.CUDA_SUCCESS:
            raise BackendError(complaint("CUDA: an operation on the device failed", self.text(status)))
        return True

    def device_of(self, pointer: int) -> int:
        """Return the ordinal of the device whose memory `pointer` is in.

        Raises:
            BackendError: It is no memory that CUDA knows.
        """
        ordinal = c_int(-1)
        self.call("cuPointerGetAttribute", byref(ordinal), prototypes.POINTER_DEVICE, pointer)
        return ordinal.value


class Device:
    """One device, used through the context that CUDA's runtime and all libraries share.

    Attributes:
        ordinal: Its number among those that CUDA_VISIBLE_DEVICES leaves.
    """

    def __init__(self, driver: Driver, ordinal: int) -> None:
        self.driver = driver
        self.ordinal = ordinal
        self._handle = c_int()
        driver.call("cuDeviceGet", byref(self._handle), ordinal)
        self._context = c_void_p()
        driver.call("cuDevicePrimaryCtxRetain", byref(self._context), self._handle)

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Make this the calling thread's device."""
        before = c_void_p()
        self.driver.call("cuCtxPushCurrent_v2", self._context)
        try:
            yield
        finally:
            self.driver.call("cuCtxPopCurrent_v2", byref(before))

    # These need the device to be current.

    def stream(self) -> int:
        """Return a new stream, which waits for no other."""
        made = c_void_p()
        self.driver.call("cuStreamCreate", byref(made), prototypes.STREAM_BESIDE_DEFAULT)
        return made.value or 0

    def end_stream(self, stream: int) -> None:
        """Free a stream once it is done with what it has."""
        self.driver.call("cuStreamDestroy_v2", stream)

    def event(self) -> int:
        """Return a new event."""
        made = c_void_p()
        self.driver.call("cuEventCreate", byref(made), prototypes.EVENT_WITHOUT_TIME)
        return made.value or 0

    def record(self, event: int, stream: int) -> None:
        """Put the event behind what is on the stream."""
        self.driver.call("cuEventRecord", event, stream)

    def wait_for(self, stream: int) -> None:
        """Return once all that is on the stream is done."""
        self.driver.call("cuStreamSynchronize", stream)

    def end_event(self, event: int) -> None:
        """Free an event."""
        self.driver.call("cuEventDestroy_v2", event)

    def allocate(self, n_bytes: int) -> int:
        """Return the address of new memory.

        Raises:
            BackendError: There is not enough.
        """
        made = c_uint64()
        self.driver.call("cuMemAlloc_v2", byref(made), max(n_bytes, 1))
        return made.value

    def free(self, pointer: int) -> None:
        """Give memory back, after all that uses it."""
        self.driver.call("cuMemFree_v2", pointer)

    def copy(self, target: int, source: int, n_bytes: int, stream: int) -> None:
        """Copy within the device, as the stream gets to it."""
        if n_bytes:
            self.driver.call("cuMemcpyDtoDAsync_v2", target, source, n_bytes, stream)

    def read(self, target: int, source: int, n_bytes: int) -> None:
        """Copy to the host's memory, after all that is on the default stream."""
        if n_bytes:
            self.driver.call("cuMemcpyDtoH_v2", target, source, n_bytes)


@functools.cache
def _driver(path: str) -> Driver:
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise BackendError(complaint("libcuda", f"cannot be loaded: {error}", hint=_HINT)) from None
    prototypes.declare(library, path, prototypes.CUDA)
    return Driver(library)
