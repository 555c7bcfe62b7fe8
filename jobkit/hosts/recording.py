"""Read hosts from a folder of recorded outputs: one folder a host, one file a command.

`system_profiler.json` and `networksetup.txt` must be there. `ibv_devices.txt`, `ipconfig_getifaddr_en0.txt`,
`ipconfig_getifaddr_en1.txt`, `ifconfig.txt` and `netstat.txt` (`netstat -rn`) may be.
"""

from __future__ import annotations

import re
from pathlib import Path

from jobkit.errors import SpecError, complaint
from jobkit.hosts import macs, networks
from jobkit.hosts.model import Host, Network

PROFILE = "system_profiler.json"
HARDWARE = "networksetup.txt"
_RDMA = "ibv_devices.txt"
_ADDRESSES = ("ipconfig_getifaddr_en0.txt", "ipconfig_getifaddr_en1.txt")
_NETWORKS = {"ifconfig.txt": networks.from_ifconfig, "netstat.txt": networks.from_netstat}
# What ssh takes as a host, and not as an option.
_NAME = re.compile(r"[\w@][\w@.:%-]*")
_LARGEST = 1 << 24  # bytes read of a file


def read(folder: str, wanted: tuple[str, ...] = ()) -> tuple[Host, ...]:
    """Return the hosts that a folder has recordings of.

    Args:
        folder: With a folder for each host.
        wanted: Their names, in the order wanted; all of them, sorted, where none is named.

    Raises:
        SpecError: There is no such folder, host or file, or a file is not what its command prints.
    """
    recorded = _recorded(folder)
    for number, name in enumerate(wanted):
        if name not in recorded:
            known = ", ".join(recorded)
            raise SpecError(complaint(folder, "no recording of a host", got=name, expected=f"one of {known}"))
        if name in wanted[:number]:
            raise SpecError(complaint("hosts", "named twice", got=name, expected="every host once"))
    return tuple(_host(Path(folder, name)) for name in wanted or recorded)


def _recorded(folder: str) -> tuple[str, ...]:
    expected = f"a folder with HOST/{PROFILE} for every host"
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


def _host(folder: Path) -> Host:
    hardware = macs.interfaces(_needed(folder / HARDWARE), str(folder / HARDWARE))
    files = {name: _text(folder / name) for name in (_RDMA, *_ADDRESSES)}
    return Host(
        name=folder.name,
        ports=macs.ports(_needed(folder / PROFILE), hardware, str(folder / PROFILE)),
        addresses=tuple(
            address for name in _ADDRESSES for address in macs.address(files[name] or "", str(folder / name))
        ),
        rdma=macs.rdma_devices(files[_RDMA] or ""),
        bridge=macs.bridge(hardware),
        networks=_networks(folder),
    )


def _networks(folder: Path) -> tuple[Network, ...] | None:
    """Return the networks; None unless addresses and routes are both recorded."""
    found: tuple[Network, ...] = ()
    for name, parse in _NETWORKS.items():
        text = _text(folder / name)
        if text is None:
            return None
        found += parse(text)
    return found


def _needed(path: Path) -> str:
    text = _text(path)
    if text is None:
        hint = f"record that command's output on {path.parent.name}"
        raise SpecError(complaint(str(path), "no such file", hint=hint))
    return text


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
