"""The gang of one host: its ranks' reports are gathered, compared and given to all."""

from __future__ import annotations

import json
import secrets
import socket

from jobkit.env.gang import Report, differences, from_json, to_json

TOKEN_BYTES = 32


class Seat:
    """The agent's end of one rank's socket pair."""

    def __init__(self, rank: int, end: socket.socket) -> None:
        end.setblocking(False)
        self.rank, self.socket = rank, end
        self.report: Report | None = None
        self.refusal: tuple[int, str] | None = None
        self.starting = False
        self._pending = bytearray()

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self.socket.fileno()

    def receive(self) -> bool:
        """Take what the shim said; False at the end: the program runs, or the shim has died."""
        try:
            data = self.socket.recv(1 << 16)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        self._pending += data
        while len(self._pending) >= 4:
            end = 4 + int.from_bytes(self._pending[:4], "big")
            if len(self._pending) < end:
                break
            self._take(json.loads(self._pending[4:end]))
            del self._pending[:end]
        return bool(data)

    def _take(self, message: dict[str, object]) -> None:
        if "report" in message:
            report = message["report"]
            assert isinstance(report, dict)
            self.report = from_json(report)
        elif "starting" in message:
            self.starting = True
        else:
            self.refusal = (int(str(message["status"])), str(message["message"]))

    def answer(self, data: bytes) -> None:
        """Send the table; a shim that died meanwhile is seen by its exit."""
        self.socket.setblocking(True)
        try:
            self.socket.sendall(data)
        except OSError:
            return
        finally:
            self.socket.setblocking(False)

    def close(self) -> None:
        """Leave."""
        self.socket.close()


def complete(seats: list[Seat]) -> bool:
    """Say whether every rank has reported."""
    return all(seat.report is not None for seat in seats)


def disagreement(seats: list[Seat]) -> str:
    """Return what the ranks must have in common and have not, or ""."""
    return differences(tuple(seat.report for seat in seats if seat.report is not None))


def hand_out(seats: list[Seat]) -> None:
    """Give everybody the table of all, with a token of this attempt's own."""
    reports = [to_json(seat.report) for seat in seats if seat.report is not None]
    table = json.dumps({"reports": reports, "token": secrets.token_hex(TOKEN_BYTES)}).encode()
    for seat in seats:
        seat.answer(len(table).to_bytes(4, "big") + table)
