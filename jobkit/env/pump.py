"""Pass on what a program writes, byte by byte, and keep the end of it."""

from __future__ import annotations

import os
import select

TAIL_BYTES = 8192
_READ_BYTES = 1 << 16
_PIPE_BYTES = 1 << 20  # the most that a pipe holds, unless its limit was raised
_PIECE_BYTES = select.PIPE_BUF  # what a pipe that is ready takes whole, and without waiting


class Pump:
    """From a pipe that a program writes to, to where it would have written without one."""

    def __init__(self, source: int, target: int) -> None:
        os.set_blocking(source, False)
        self._source, self._target = source, target
        self._pending = bytearray()
        self._open = True
        self.tail = bytearray()

    def wanted(self) -> tuple[int, int]:
        """Return the descriptor and the events to wait for: room, or more to pass on; -1 at the end."""
        if self._pending:
            return self._target, select.POLLOUT
        return (self._source, select.POLLIN) if self._open else (-1, 0)

    def turn(self) -> None:
        """Do what `wanted` waited for."""
        if self._pending:
            self._write()
        elif self._open:
            self._read()

    def drain(self) -> None:
        """Pass on what has been written so far, but do not wait for whoever may write more."""
        left = _PIPE_BYTES
        while left > 0:
            while self._pending:
                self._write()
            if not self._open:
                return
            left -= self._read() or left
        while self._pending:
            self._write()

    def _read(self) -> int:
        """Take what is there and return how much it is."""
        try:
            data = os.read(self._source, _READ_BYTES)
        except BlockingIOError:
            return 0
        if not data:
            self._close()
        self._pending += data
        self.tail += data
        del self.tail[:-TAIL_BYTES]
        return len(data)

    def _write(self) -> None:
        """Write a piece; as other ranks may write there too, it ends with a line where it can."""
        end = min(len(self._pending), _PIECE_BYTES)
        if end < len(self._pending):
            end = self._pending.rfind(b"\n", 0, end) + 1 or end
        try:
            written = os.write(self._target, self._pending[:end])
        except OSError:
            # Nobody reads it any more: the program is to see that as it would without a pipe between.
            self._close()
            self._pending.clear()
            return
        del self._pending[:written]

    def _close(self) -> None:
        if self._open:
            self._open = False
            os.close(self._source)
