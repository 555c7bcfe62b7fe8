"""Read what detection may know beside the environment: its only part that looks at the machine."""

from __future__ import annotations

import os

from jobkit.env.json_ import loads
from jobkit.env.placement import Facts
from jobkit.errors import LaunchError, complaint

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

_HOSTFILE = "MLX_HOSTFILE"

# Beginnings of the variables of launchers that have processes above their ranks, or none where they ought to.
_LAUNCHERS = (
    "SLURM_",
    "OMPI_COMM_WORLD_",
    "PMI",
    "MV2_COMM_WORLD_",
    "TORCHELASTIC_",
    "FLUX_",
    "JSM_",
    "LSB_JOBID",
    "PBS_JOBID",
    "PE_HOSTFILE",
    "SGE_TASK_ID",
)
# Variables that name a file, and files that a variable calls for.
_NAMED = ("PBS_NODEFILE", "PE_HOSTFILE", "LSB_DJOB_RANKFILE", "LSB_DJOB_HOSTFILE")
_KUBERNETES, _ETC_HOSTS = "JOB_COMPLETION_INDEX", "/etc/hosts"
_LARGEST = 1 << 20  # bytes read of a file, enough for 10 000 hosts

_INITIAL_NAMESPACE = 0xEFFFFFFC  # the inode that Linux gives to the first process namespace
_DEEPEST = 64
_DAEMON = "slurmstepd"
_DAEMONS = (_DAEMON, "slurmd")
_SHELLS = ("bash", "sh", "zsh", "dash", "ksh", "csh", "tcsh", "fish", "ash")
_TORCHRUN = ("torch.distributed.run", "torch.distributed.launch")


def facts(environ: Mapping[str, str], *, every: bool = False) -> Facts:
    """Return the facts of this process; most of them only where a launcher's variables call for them.

    Args:
        environ: Of this process.
        every: Whether all are wanted, as for a record.

    Raises:
        LaunchError: MLX_HOSTFILE names a file that is not a list of lists of addresses.
    """
    path = environ.get(_HOSTFILE) if "JOBKIT_RANK" not in environ else None
    host, hosts = os.uname().nodename, _hostfile_hosts(path) if path else None
    if not every and not any(name.startswith(_LAUNCHERS) for name in environ):
        return Facts(host, hosts, files=_files(environ))
    above = _ancestors(os.getpid())
    return Facts(
        host,
        hosts,
        above,
        _contained(above),
        _text("/proc/self/cgroup"),
        os.isatty(0),
        _files(environ),
    )


def _ancestors(pid: int) -> tuple[tuple[int, str], ...] | None:
    """Return a process and those above it; None where the system does not tell (macOS)."""
    found: list[tuple[int, str]] = []
    while pid > 0 and len(found) < _DEEPEST:
        stat = _text(f"/proc/{pid}/stat")
        if stat is None:
            break
        name, _, rest = stat.partition("(")[2].rpartition(")")
        found.append((pid, _shown(pid, name)))
        pid = int(rest.split()[1])
    return tuple(found) or None


def _shown(pid: int, name: str) -> str:
    """Return a process's name, for those where it matters with the part of their command that does.

    Never the whole command, which may hold a password and is recorded for others to read.
    """
    python = name.startswith("python")
    if not (python or name in _SHELLS or name == _DAEMON):
        return name
    words = (_text(f"/proc/{pid}/cmdline") or "").rstrip("\0").split("\0")
    if name == _DAEMON:
        return words[0] or name
    if python:
        return "torchrun" if any(module in words[1:6] for module in _TORCHRUN) else name
    return f"{name} -c" if any(not w.startswith("-") or w == "-c" for w in words[1:]) else name


def _contained(above: tuple[tuple[int, str], ...] | None) -> bool | None:
    """Say whether a launcher's processes may be outside of what can be seen from here.

    A container may also hold a whole cluster: where a daemon of Slurm is seen beside, all of them are.
    """
    try:
        inside = os.stat("/proc/self/ns/pid").st_ino != _INITIAL_NAMESPACE
        if not inside or any(name.startswith(_DAEMON) for _, name in above or ()):
            return inside
        names = (_text(f"/proc/{pid}/comm") for pid in os.listdir("/proc") if pid.isdigit())
        return not any(name is not None and name.strip() in _DAEMONS for name in names)
    except OSError:
        return None


def _files(environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    named = [(name, environ[name]) for name in _NAMED if environ.get(name)]
    if _KUBERNETES in environ:
        named.append((_ETC_HOSTS, _ETC_HOSTS))
    read = [(name, _text(path)) for name, path in named]
    return tuple((name, text) for name, text in read if text is not None)


def _text(path: str) -> str | None:
    try:
        # Not waiting for a writer: whatever a variable names is opened here.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        with open(descriptor, "rb", closefd=True) as file:
            return (file.read(_LARGEST) or b"").decode(errors="replace")
    except OSError:
        return None


def _hostfile_hosts(path: str) -> tuple[str, ...]:
    try:
        text = _text(path)
        if text is None:
            raise OSError("it cannot be read")
        ranks = loads(text)
        return tuple(_host(addresses) for addresses in ranks)
    except (OSError, ValueError, LookupError, TypeError) as error:
        where = f"{_HOSTFILE}={path}"
        raise LaunchError(
            complaint(where, f"not a hostfile ({error})", expected='[["ip:port", …], …]')
        ) from error


def _host(addresses: object) -> str:
    """Return the host of a rank's first address: `["10.0.0.1:5000", …]`."""
    if not (isinstance(addresses, list) and addresses and isinstance(addresses[0], str)):
        raise TypeError(f"{addresses!r} is no list of addresses")
    return addresses[0].rpartition(":")[0]
