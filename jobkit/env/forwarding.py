"""Decide which signals a watcher passes on: those that have not reached the program by themselves."""

from __future__ import annotations

# How far apart a launcher that signals a rank's processes one by one may signal two of them.
ECHO_S = 0.25


class Forwarding:
    """Signals that reached this process, against those that the witness saw; times are in seconds."""

    def __init__(self) -> None:
        self._came: list[tuple[int, float]] = []
        self._seen: list[tuple[int, float]] = []

    def came(self, number: int, now: float) -> None:
        """Note a signal to this process."""
        self._came.append((number, now))

    def seen(self, number: int, now: float) -> None:
        """Note a signal to the witness, and so to the program."""
        self._seen.append((number, now))

    def due(self, now: float) -> list[int]:
        """Return, and forget, the signals of more than ECHO_S before `now` that the witness did not see.

        To be called when everything that the witness saw until `now` has been noted.
        """
        self._came = [signal for signal in self._came if not self._reached_all(*signal)]
        found = [number for number, when in self._came if when <= now - ECHO_S]
        self._came = [signal for signal in self._came if signal[1] > now - ECHO_S]
        self._seen = [seen for seen in self._seen if seen[1] > now - ECHO_S]
        return found

    def _reached_all(self, number: int, when: float) -> bool:
        """Say whether the witness saw a signal; one may stand for several, as the system joins them."""
        return any(number == other and when <= seen + ECHO_S for other, seen in self._seen)

    def patience(self, now: float) -> float | None:
        """Return the seconds until something may be due, None for no such moment."""
        return max(0.0, self._came[0][1] + ECHO_S - now) if self._came else None
