"""Keep what the commands on hosts have printed in a folder: one folder a host, one file a command."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from jobkit.errors import SpecError, complaint
from jobkit.hosts import macs, outputs
from jobkit.hosts.machine import THUNDERBOLT, describe
from jobkit.hosts.model import Host
from jobkit.hosts.outputs import Outputs

FILES = (*outputs.COMMON, *(file for files in outputs.COMMANDS.values() for file in files))
# What ssh takes as a host, and not as an option.
_NAME = re.compile(r"[\w@][\w@.:%-]*")
_LARGEST = 1 << 24  # bytes read of a file


def read(folder: str, wanted: tuple[str, ...] = (), over: str = THUNDERBOLT) -> tuple[Host, ...]:
    """Return the hosts that a folder has recordings of.

    Args:
        folder: With a folder for each host.
        wanted: Their names, in the order wanted; all of them, sorted, where none is named.
        over: The kind of network that is asked for.

    Raises:
        SpecError: There is no such folder, host or file, or a file is not what its command prints.
    """
    recorded = _recorded(folder)
    for name in wanted:
        if name not in recorded:
            known = ", ".join(recorded)
            raise SpecError(complaint(folder, "no recording of a host", got=name, expected=f"one of {known}"))
    return tuple(describe(_outputs(Path(folder, name)), over) for name in wanted or recorded)


def write(folder: str, hosts: Iterable[Outputs]) -> None:
    """Keep what hosts have printed; what a folder has of other hosts stays.

    Raises:
        SpecError: It cannot be written.
    """
    try:
        for host in hosts:
            own = Path(folder, host.name)
            own.mkdir(parents=True, exist_ok=True)
            for file in FILES:
                if file in host.texts:
                    (own / file).write_text(host.texts[file])
                else:
                    (own / file).unlink(missing_ok=True)
    except OSError as error:
        raise SpecError(complaint(folder, f"cannot be written ({error.strerror})")) from error


def _recorded(folder: str) -> tuple[str, ...]:
    expected = f"a folder with HOST/{outputs.PROFILE} for every host"
    try:
        names = [path.name for path in Path(folder).iterdir() if path.is_dir() and path.name[0] != "."]
    except OSError as error:
        raise SpecError(complaint(folder, f"cannot be read ({error.strerror})", expected=expected)) from error
    if not names:
        raise SpecError(complaint(folder, "no recordings of hosts", expected=expected))
    for name in names:
        if not _NAME.fullmatch(name):
            raise SpecError(
                complaint(folder, "not a host's name", got=name, expected="letters, digits, . _ -")
            )
    return tuple(sorted(names, key=macs.natural))


def _outputs(folder: Path) -> Outputs:
    found = {file: text for file in FILES if (text := _text(folder / file)) is not None}
    return Outputs(folder.name, str(folder), found)


def _text(path: Path) -> str | None:
    """Return the text of a file; None where there is none. Nothing waits on a pipe in its place."""
    if not path.exists():
        return None
    if not path.is_file():
        raise SpecError(complaint(str(path), "is no file"))
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST).decode()
    except OSError as error:
        raise SpecError(complaint(str(path), f"cannot be read ({error.strerror})")) from error
    except UnicodeDecodeError:
        raise SpecError(complaint(str(path), "not UTF-8 text")) from None
