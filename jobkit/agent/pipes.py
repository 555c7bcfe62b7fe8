"""Move bytes between the launcher and the ranks without ever waiting for either."""

from __future__ import annotations

import os

_READ_BYTES = 1 << 16
_FULL_BYTES = 4 << 20
TAIL_BYTES = 8192


class Outlet:
    """The way to the launcher: what it does not take yet is kept."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd, self._pending = fd, bytearray()
        self.broken = False

    def fileno(self) -> int:
        """Return the descriptor that is writable when `flush` can go on."""
        return self._fd

    @property
    def waiting(self) -> bool:
        """Whether something is left to write."""
        return bool(self._pending)

    @property
    def full(self) -> bool:
        """Whether the ranks' output should be left in their pipes for now."""
        return len(self._pending) > _FULL_BYTES

    def send(self, data: bytes) -> None:
        """Write, or keep, a frame."""
        self._pending += data
        self.flush()

    def flush(self) -> None:
        """Write what can be written now."""
        try:
            while self._pending and not self.broken:
                del self._pending[: os.write(self._fd, self._pending[: 1 << 20])]
        except BlockingIOError:
            return
        except OSError:
            self.broken = True
        if self.broken:
            self._pending.clear()


class Inlet:
    """One rank's standard input: bytes that it has not read yet, and then the end."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd, self._pending, self._ending = fd, bytearray(), False
        self.consumed = 0
        self.closed = False

    def fileno(self) -> int:
        """Return the descriptor that is writable when `flush` can go on, -1 when closed."""
        return -1 if self.closed else self._fd

    @property
    def waiting(self) -> bool:
        """Whether something is left to write."""
        return not self.closed and (bool(self._pending) or self._ending)

    def send(self, data: bytes) -> None:
        """Write, or keep, bytes."""
        self._pending += data
        self.flush()

    def end(self) -> None:
        """Close the pipe behind what is kept."""
        self._ending = True
        self.flush()

    def flush(self) -> None:
        """Write what can be written now; a rank that reads no more counts as having read everything."""
        try:
            while self._pending and not self.closed:
                written = os.write(self._fd, self._pending)
                self.consumed += written
                del self._pending[:written]
        except BlockingIOError:
            return
        except OSError:
            self.close()
        if self._ending:
            self.close()

    def close(self) -> None:
        """Let go of the pipe."""
        if not self.closed:
            self.closed = True
            os.close(self._fd)


class Source:
    """The reading end of one stream of one rank, and the last of what came through it."""

    def __init__(self, rank: int, stream: int, fd: int) -> None:
        os.set_blocking(fd, False)
        self.rank, self.stream = rank, stream
        self._fd, self.closed = fd, False
        self.tail = bytearray()

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is output, -1 when closed."""
        return -1 if self.closed else self._fd

    def read(self) -> bytes:
        """Return what is there now, b"" if nothing; closes itself at the end."""
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return b""
        if not data:
            self.close()
        self.tail += data
        del self.tail[:-TAIL_BYTES]
        return data

    def close(self) -> None:
        """Let go of the pipe."""
        if not self.closed:
            self.closed = True
            os.close(self._fd)
