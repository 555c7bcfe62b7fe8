"""Who this process is to the others: its host, its node's identity, the versions it runs."""

from __future__ import annotations

import os
import sys

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_NETWORK = "/proc/self/ns/net"


def node_identity() -> str:
    """Return boot id and network namespace: equal for two processes that share loopback and memory.

    Where /proc is absent (macOS) the host's name stands for both.
    """
    try:
        with open(_BOOT_ID, encoding="ascii") as file:
            return f"{file.read().strip()}:{os.stat(_NETWORK).st_ino}"
    except OSError:
        return f"{os.uname().nodename}:0"


def mlx_version() -> tuple[str, bool]:
    """Return the installed mlx's version ("" without one), and whether it is a CUDA build.

    Read from the names of the folders that installers leave beside a package: `importlib.metadata` says the
    same and takes five times Python's own start to import.
    """
    version, cuda = "", False
    for folder in sys.path:
        for name in _names(folder or "."):
            if name.startswith("mlx") and name.endswith(".dist-info"):
                project, _, number = name[: -len(".dist-info")].partition("-")
                version = version or (number if project == "mlx" else "")
                cuda = cuda or project.startswith("mlx_cuda")
    return version, cuda


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
