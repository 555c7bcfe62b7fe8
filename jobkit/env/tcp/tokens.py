"""What the ranks of one user's job know and nobody else does: how they recognise each other.

Every rank chooses alike, in this order: a file in the run folder; where all are on one host, a file of the
user's; MUNGE, where it runs; the user's file again, in a home that the hosts share; nothing, if the user
says so.
"""

from __future__ import annotations

import os
import stat

from jobkit.env.data import dataclass
from jobkit.env.home import home
from jobkit.errors import LaunchError, complaint

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

INSECURE = "JOBKIT_INSECURE"
MUNGE_SOCKET = "JOBKIT_MUNGE_SOCKET"
_BYTES = 32
_DEFAULT_MUNGE_SOCKET = "/run/munge/munge.socket.2"

RUN_FOLDER, MUNGE, HOME, OPEN = "run folder", "munge", "home", "insecure"


@dataclass(frozen=True)
class Token:
    """How the ranks know each other.

    Attributes:
        kind: RUN_FOLDER, MUNGE, HOME or OPEN.
        secret: What both sides know; under MUNGE the coordinator's alone until it hands it over.
        where: The file, for messages.
    """

    kind: str
    secret: bytes
    where: str


def token(environ: Mapping[str, str], run_dir: str, *, one_host: bool) -> Token:
    """Return the token of this process; a file that is missing is made.

    Args:
        environ: Of this process.
        run_dir: A folder that all ranks see, "" without.
        one_host: Whether all ranks are on this host.

    Raises:
        LaunchError: There is none, or others may read its file.
    """
    if environ.get(INSECURE) == "1":
        return Token(OPEN, b"\0" * _BYTES, INSECURE)
    if run_dir:
        return _of_file(RUN_FOLDER, f"{run_dir}/token")
    socket = environ.get(MUNGE_SOCKET) or _DEFAULT_MUNGE_SOCKET
    if not one_host and os.path.exists(socket):
        return Token(MUNGE, os.urandom(_BYTES), socket)
    return _of_file(HOME, f"{home(environ)}/token")


def _of_file(kind: str, path: str) -> Token:
    try:
        secret = _read(path)
        if secret is None:
            _make(path)
            secret = _read(path)
    except OSError as error:
        raise LaunchError(_unusable(path, error.strerror or str(error))) from error
    if not secret:
        raise LaunchError(_unusable(path, "it is not one of jobkit's, or cut off; remove it"))
    return Token(kind, secret, path)


def _read(path: str) -> bytes | None:
    """Return a file's secret, None where there is no file.

    Raises:
        LaunchError: Somebody else may read or write it.
    """
    try:
        # Without waiting: it may be a FIFO.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            raise LaunchError(complaint(f"token {path}", "is no file", hint="remove it; a new one is made"))
        if about.st_uid != os.geteuid() or about.st_mode & 0o077:
            raise LaunchError(
                complaint(
                    f"token {path}",
                    "others can read it",
                    got=f"owner {about.st_uid}, mode {about.st_mode & 0o777:o}",
                    expected=f"owner {os.geteuid()}, mode 600",
                    hint="remove it; a new one is made",
                )
            )
        text = os.read(fd, 4096).strip()
        return text if len(text) == 2 * _BYTES and text.isalnum() else b""
    finally:
        os.close(fd)


def _make(path: str) -> None:
    """Make the file whole and at once; where two make it, the first one's stays."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    temporary = f"{path}.{os.urandom(8).hex()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, os.urandom(_BYTES).hex().encode())
        os.fsync(fd)
        os.link(temporary, path)
    except FileExistsError:
        return
    finally:
        os.close(fd)
        os.unlink(temporary)


def _unusable(path: str, why: str) -> str:
    hint = (
        "set JOBKIT_RUN_DIR or JOBKIT_HOME to a folder of yours that all hosts share; "
        f"{INSECURE}=1 lets anybody on the network join"
    )
    return complaint(f"token {path}", f"cannot be used ({why})", hint=hint)
