"""Times as records and people write them."""

from __future__ import annotations

from datetime import datetime, timezone


def now() -> datetime:
    """Return this moment, aware, in UTC."""
    return datetime.now(timezone.utc)


def rfc3339(moment: datetime) -> str:
    """Return a moment in UTC with microseconds, so that the texts sort as the moments do.

    >>> rfc3339(datetime(2026, 11, 22, 10, 15, 30, tzinfo=timezone.utc))
    '2026-11-22T10:15:30.000000Z'
    """
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parsed(text: str) -> datetime:
    """Return the moment that an RFC 3339 text in UTC names."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def normal(text: str) -> str:
    """Return an RFC 3339 text in UTC as `rfc3339` writes it, so that texts of both kinds sort.

    >>> normal("2026-11-22T10:15:30.250Z")
    '2026-11-22T10:15:30.250000Z'
    """
    return rfc3339(parsed(text))


def seconds_between(start: str, end: str) -> float:
    """Return the seconds from one RFC 3339 text to another."""
    return (parsed(end) - parsed(start)).total_seconds()


def duration(seconds: float) -> str:
    """Return a length of time for people.

    >>> [duration(s) for s in (0.04, 7, 75, 3600, 100000)]
    ['0.0s', '7.0s', '1m15s', '1h00m', '1d03h']
    """
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    if days:
        return f"{days}d{h:02}h"
    return f"{hours}h{m:02}m" if hours else f"{m}m{s:02}s"
