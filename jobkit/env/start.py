"""Find the program and become it."""

from __future__ import annotations

# The C module: `signal` would bring `enum` with it and add 4 ms to every rank's start.
import _signal  # type: ignore[import-not-found]
import os

from jobkit.errors import Exit, LaunchError, complaint

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


class CommandError(LaunchError):
    """The program is not there (127) or cannot be executed (126)."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


def enter(folder: str) -> None:
    """Make a folder the working directory.

    Raises:
        LaunchError: It is not there, no folder, or closed to this user.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        raise LaunchError(complaint(f"workdir {folder}", f"cannot be entered ({error.strerror})")) from error


def find(command: tuple[str, ...], environ: Mapping[str, str]) -> str:
    """Return the path of a command's program: as it is with a slash in it, else from PATH.

    Raises:
        CommandError: No such file, or none that may be executed.
    """
    program = command[0]
    if "/" in program:
        return _executable(program, (program,))
    path = environ.get("PATH") or DEFAULT_PATH
    return _executable(program, tuple(f"{folder or '.'}/{program}" for folder in path.split(":")))


def _executable(program: str, candidates: tuple[str, ...]) -> str:
    files = [name for name in candidates if os.path.isfile(name)]
    for name in files:
        if os.access(name, os.X_OK):
            return name
    if files:
        hint = f"chmod +x {files[0]}, or name its interpreter: python {files[0]}"
        raise CommandError(complaint(files[0], "is not executable", hint=hint), Exit.NOT_EXECUTABLE)
    if os.path.isdir(program) and "/" in program:
        raise CommandError(complaint(program, "is a folder, not a program"), Exit.NOT_EXECUTABLE)
    where = ", ".join(os.path.dirname(name) for name in candidates)
    looked = f"looked in {where}" if "/" not in program else f"looked from {os.getcwd()}"
    hint = f"this folder has one: ./{program}" if "/" not in program and os.path.isfile(program) else ""
    raise CommandError(
        complaint(program or "the command", f"no such program; {looked}", hint=hint), Exit.NOT_FOUND
    )


def become(program: str, command: tuple[str, ...], environ: Mapping[str, str]) -> None:
    """Replace this process by the program; returns only by raising.

    Raises:
        CommandError: The system refuses it: a wrong format, a missing interpreter.
    """
    # Python ignores these, and what is ignored stays so across exec: `yes | head` would complain.
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)
    try:
        os.execve(program, command, dict(environ))
    except FileNotFoundError as error:
        wrong = "its interpreter (the #! line) is not there" if os.path.exists(program) else "no such program"
        raise CommandError(complaint(program, wrong), Exit.NOT_FOUND) from error
    except OSError as error:
        wrong = f"cannot be executed ({error.strerror})"
        raise CommandError(complaint(program, wrong), Exit.NOT_EXECUTABLE) from error
