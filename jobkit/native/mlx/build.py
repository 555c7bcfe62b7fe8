"""Compile the bridge to MLX against the mlx that is installed, once, and load it.

What is built lies in the user's cache folder under a key of everything that it depends on: it is loaded only
where the version of mlx, the Python, nanobind, the platform and the source are those it was built for.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

from jobkit.errors import BackendError, complaint
from jobkit.native.mlx.recipe import FLAGS, SOURCES, Recipe, recipe

MODULE = "mlx_group"
COMPILERS = ("c++", "g++", "clang++")
COMPILER_VARIABLE = "CXX"
LOCK_TIMEOUT_S = 300.0
COMPILE_TIMEOUT_S = 280.0
POLL_INTERVAL_S = 0.1


class NoCompilerError(BackendError):
    """There is no C++ compiler, or no Python.h, so that nothing can be built here."""


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder that keeps what was built: $XDG_CACHE_HOME/jobkit or ~/.cache/jobkit.

    Where neither can be written, a folder of the user's own among the temporary files.

    Raises:
        BackendError: That folder is not the user's own.
    """
    base = Path(environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))  # noqa: PTH111 HOME may be unknown
    if base.is_absolute() and _is_writable(base / "jobkit"):
        return base / "jobkit"
    folder = Path(tempfile.gettempdir()) / f"jobkit-{os.getuid()}"
    if not _is_writable(folder) or folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise BackendError(
            complaint(str(folder), "not a folder of this user's own", hint="set XDG_CACHE_HOME")
        )
    return folder


def _is_writable(folder: Path) -> bool:
    """Return whether `folder` can be written, made if need be."""
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.access(folder, os.W_OK | os.X_OK)


def build(environ: Mapping[str, str]) -> Path:
    """Return the compiled bridge, from the cache where it is there, else built now.

    Several processes may call this at once: one builds, the others wait for it.

    Raises:
        NoCompilerError: There is no C++ compiler.
        BackendError: It cannot be built, or another process has been building it for 300 s.
    """
    wanted = recipe()
    folder = cache_folder(environ)
    target = folder / wanted.key / f"{MODULE}{wanted.suffix}"
    if target.is_file():
        return target
    command = compiler(environ)
    _check_python_headers(wanted.python_include)
    with _locked(folder / f"{wanted.key}.lock"):
        if not target.is_file():
            print(
                f"jobkit: building the bridge to MLX {wanted.mlx_version} (once)", file=sys.stderr, flush=True
            )
            _compile(wanted, command, target)
    return target


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold the lock of `file`; it ends with the process that holds it."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, file)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, file: Path) -> None:
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP):
                return  # a file system without locks: two may build; each puts its result in place at once
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
        if time.monotonic() > deadline:
            raise BackendError(
                complaint(
                    str(file),
                    f"another process has been building the bridge to MLX for {LOCK_TIMEOUT_S:.0f} s",
                )
            )
        time.sleep(POLL_INTERVAL_S)


def compiler(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the C++ compiler's command: $CXX, else the first that PATH has.

    Raises:
        NoCompilerError: None is there.
    """
    if named := shlex.split(environ.get(COMPILER_VARIABLE, "")):
        if shutil.which(named[0], path=environ.get("PATH")):
            return tuple(named)
        raise NoCompilerError(complaint(f"${COMPILER_VARIABLE}", "no such program", got=named[0]))
    for name in COMPILERS:
        if found := shutil.which(name, path=environ.get("PATH")):
            return (found,)
    raise NoCompilerError(
        complaint(
            "the bridge to MLX",
            "no C++ compiler on PATH",
            expected=f"one of {', '.join(COMPILERS)}, or ${COMPILER_VARIABLE}",
            hint="xcode-select --install" if sys.platform == "darwin" else "apt-get install g++",
        )
    )


def _check_python_headers(include: Path) -> None:
    if not (include / "Python.h").is_file():
        wrong = f"there is no {include / 'Python.h'}"
        raise NoCompilerError(complaint("the bridge to MLX", wrong, hint="apt-get install python3-dev"))


def _compile(wanted: Recipe, command: tuple[str, ...], target: Path) -> None:
    """Build in a temporary folder beside the target, then move the result there in one step."""
    with tempfile.TemporaryDirectory(prefix=".build-", dir=target.parent.parent) as work:
        _run_all(compile_commands(wanted, command, Path(work)))
        _run_all([link_command(wanted, command, Path(work))])
        target.parent.mkdir(mode=0o700, exist_ok=True)
        (Path(work) / target.name).replace(target)


def compile_commands(wanted: Recipe, command: tuple[str, ...], work: Path) -> list[list[str]]:
    """Return the two commands, for the bridge and for nanobind's own code, that may run at once."""
    include = [
        f"-I{wanted.python_include}",
        f"-I{wanted.nanobind / 'include'}",
        f"-I{wanted.nanobind / 'ext' / 'robin_map' / 'include'}",
        f"-I{wanted.mlx / 'include'}",
    ]
    sources = (SOURCES / "mlx_group.cc", wanted.nanobind / "src" / "nb_combined.cpp")
    return [
        [*command, *FLAGS, *include, "-c", str(source), "-o", str(work / f"{source.stem}.o")]
        for source in sources
    ]


def link_command(wanted: Recipe, command: tuple[str, ...], work: Path) -> list[str]:
    """Return the command that links the objects in `work` to an extension module there."""
    lib = wanted.mlx / "lib"
    system = ["-Wl,-undefined,dynamic_lookup", f"-Wl,-rpath,{lib}"] if sys.platform == "darwin" else []
    objects = [str(work / "mlx_group.o"), str(work / "nb_combined.o")]
    return [
        *command,
        "-shared",
        *objects,
        f"-L{lib}",
        "-lmlx",
        *system,
        "-o",
        str(work / f"{MODULE}{wanted.suffix}"),
    ]


def _run_all(commands: list[list[str]]) -> None:
    """Run the commands side by side.

    Raises:
        BackendError: One failed; carries the last lines of what it said.
    """
    deadline = time.monotonic() + COMPILE_TIMEOUT_S
    with contextlib.ExitStack() as stack:
        running = [(words, stack.enter_context(_started(words))) for words in commands]
        for words, process in running:
            try:
                said, _ = process.communicate(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                said = f"still running after {COMPILE_TIMEOUT_S:.0f} s"
                process.kill()
            if process.wait() != 0:
                raise BackendError(_compiler_failed(words, process.returncode, said))


@contextlib.contextmanager
def _started(words: list[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def _compiler_failed(words: list[str], status: int, said: str) -> str:
    tail = "\n".join(said.splitlines()[-20:])
    return f"the bridge to MLX: {words[0]} ended with status {status}\n{shlex.join(words)}\n{tail}"


def load(environ: Mapping[str, str]) -> ModuleType:
    """Return the bridge as a module, built if need be.

    Raises:
        NoCompilerError: It is not built and there is no C++ compiler.
        BackendError: It cannot be built, or what was built does not fit this process.
    """
    importlib.import_module("mlx.core")  # loads libmlx, which the bridge is linked to by name
    file = build(environ)
    loader = importlib.machinery.ExtensionFileLoader(MODULE, str(file))
    spec = importlib.util.spec_from_file_location(MODULE, file, loader=loader)
    assert spec is not None, "a loader is given"
    try:
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
    except ImportError as error:
        raise BackendError(
            complaint(
                str(file), f"cannot be loaded: {error}", hint=f"remove {file.parent} to have it built again"
            )
        ) from error
    release = importlib.metadata.version("mlx").split(".dev")[0].split("+")[0]
    if release != module.mlx_version:
        raise BackendError(
            complaint(str(file), "built for another mlx", got=module.mlx_version, expected=release)
        )
    return module
