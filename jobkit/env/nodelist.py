"""Slurm's compressed lists: `rack[1-2]n[08-10],login` of hosts, `2(x3),1` of counts."""

from __future__ import annotations

from jobkit.errors import PlacementError, complaint

# Slurm's own bound on one range (MAX_RANGE of its hostlist); a list beyond it is a mistake, and must not
# fill the memory.
LONGEST = 262144

_HOSTS = "hosts as in n[08-10],login"
_COUNTS = "counts as in 2(x3),1"


def hosts(text: str, name: str) -> tuple[str, ...]:
    """Return the hosts of a list in its order, as `scontrol show hostnames` does.

    A name has any number of brackets, which multiply, the last one fastest, and text around them; numbers
    keep the width of the first of their range. Source: the NodeName of https://slurm.schedmd.com/slurm.conf.html.

    Args:
        text: The list.
        name: The variable it comes from, for the error.

    Raises:
        PlacementError: It is no such list, or has more hosts than Slurm allows.

    >>> hosts("rack[1-2]n[08,10],login", "SLURM_STEP_NODELIST")
    ('rack1n08', 'rack1n10', 'rack2n08', 'rack2n10', 'login')
    """
    # Checked once for all names: a loop over letters would take longer than all the rest.
    if text.split() != [text] or "(" in text or ")" in text:
        raise _wrong(text, name, "not a list of hosts", _HOSTS)
    found: list[str] = []
    for word in _words(text, name):
        found += _expanded(word, text, name) if "[" in word or "]" in word else [word]
        if len(found) > LONGEST:
            raise _wrong(text, name, f"more than {LONGEST} hosts", _HOSTS)
    return tuple(found)


def _words(text: str, name: str) -> list[str]:
    """Return the names of a list: parts between those commas that are in no bracket."""
    words: list[str] = []
    open_parts: list[str] = []
    for part in text.split(","):
        open_parts.append(part)
        # Inside a bracket until one more is closed than opened.
        if part.rfind("[") <= part.rfind("]") and ("]" in part or len(open_parts) == 1):
            words.append(",".join(open_parts))
            open_parts = []
    if open_parts or not all(words):
        raise _wrong(text, name, "not a list of hosts", _HOSTS)
    return words


def _expanded(word: str, text: str, name: str) -> list[str]:
    first, *parts = word.split("[")
    if "]" in first:
        raise _wrong(text, name, "not a list of hosts", _HOSTS)
    found = [first]
    for part in parts:
        ranges, closed, after = part.partition("]")
        if not closed or "]" in after:
            raise _wrong(text, name, "not a list of hosts", _HOSTS)
        numbers: list[str] = []
        for item in ranges.split(","):
            numbers += _range(item, text, name)
            if len(found) * len(numbers) > LONGEST:
                raise _wrong(text, name, f"more than {LONGEST} hosts", _HOSTS)
        found = [f"{before}{number}{after}" for before in found for number in numbers]
    return found


def _range(item: str, text: str, name: str) -> list[str]:
    """Return the numbers of `7`, `8-10` or `08-10`."""
    if _is_number(item):
        return [item]
    low, _, high = item.partition("-")
    if not (_is_number(low) and _is_number(high)) or not 0 <= int(high) - int(low) < LONGEST:
        raise _wrong(text, name, f"not a list of hosts ({item[:40]!r} is no range)", _HOSTS)
    numbers = range(int(low), int(high) + 1)
    if low.startswith("0"):
        return [str(number).zfill(len(low)) for number in numbers]
    return list(map(str, numbers))


def counts(text: str, name: str) -> tuple[int, ...]:
    """Return the numbers of a list with repetitions.

    Raises:
        PlacementError: It is no such list.

    >>> counts("2(x2),1", "SLURM_STEP_TASKS_PER_NODE")
    (2, 2, 1)
    """
    found: list[int] = []
    for item in text.split(","):
        count, times, rest = item.partition("(x")
        repeated = rest[:-1] if times and rest.endswith(")") else "" if times else "1"
        if not (_is_number(count) and _is_number(repeated)):
            raise _wrong(text, name, "not a list of counts", _COUNTS)
        if len(found) + int(repeated) > LONGEST:
            raise _wrong(text, name, f"more than {LONGEST} nodes", _COUNTS)
        found += [int(count)] * int(repeated)
    return tuple(found)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


def _wrong(text: str, name: str, wrong: str, expected: str) -> PlacementError:
    shown = text if len(text) <= 200 else f"{text[:200]}…"
    return PlacementError(complaint(name, wrong, got=shown, expected=expected))
