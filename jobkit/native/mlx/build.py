"""Compile the bridge to MLX against the mlx that is installed, once, and load it.

What is built lies in the user's cache folder under a key of everything that it depends on: it is loaded only
where the version of mlx, the Python, nanobind, the platform and the source are those it was built for.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from jobkit.errors import BackendError, complaint

MODULE = "mlx_group"
SOURCES = Path(__file__).resolve().parent.parent / "src"
SOURCE_NAMES = ("mlx_group.cc", "capi.h", "dtype.h", "reduce.h")
# The headers of mlx that fix the layout of what the bridge shares with it.
MLX_HEADERS = ("array.h", "allocator.h", "backend/cpu/encoder.h", "distributed/distributed_impl.h")
COMPILERS = ("c++", "g++", "clang++")
COMPILER_VARIABLE = "CXX"
FLAGS = (
    "-std=c++20",
    "-O2",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-strict-aliasing",
    "-DNDEBUG",
    # mlx registers its types in a domain of its own; only a module of that domain sees mx.distributed.Group.
    "-DNB_DOMAIN=mlx",
)
LOCK_TIMEOUT_S = 300.0
COMPILE_TIMEOUT_S = 280.0
POLL_INTERVAL_S = 0.1

# Which releases of nanobind have which layout of its internals; modules of one process that disagree in it do
# not see each other's types. Source: NB_INTERNALS_VERSION in the tags of https://github.com/wjakob/nanobind.
NANOBIND_RELEASES = {
    16: ">=2.6,<2.10",
    17: ">=2.10,<2.11",
    18: ">=2.11,<2.12",
    19: ">=2.12,<2.13",
    20: ">=2.13,<2.15",
    21: ">=2.15,<3",
    22: ">=3",
}


class NoCompilerError(BackendError):
    """There is no C++ compiler, or no Python.h, so that nothing can be built here."""


@dataclass(frozen=True)
class Recipe:
    """Everything that a build depends on.

    Attributes:
        mlx_version: As `mx.__version__` gives it.
        mlx: The folder that holds mlx's `include` and `lib`.
        nanobind_version: Of the nanobind whose source is compiled in.
        nanobind: The folder that holds nanobind's `include` and `src`.
        python_include: Where Python.h is.
        suffix: Of an extension module of this interpreter, ".cpython-311-x86_64-linux-gnu.so".
        key: Names the result in the cache.
    """

    mlx_version: str
    mlx: Path
    nanobind_version: str
    nanobind: Path
    python_include: Path
    suffix: str
    key: str


def recipe() -> Recipe:
    """Return what a build in this interpreter depends on.

    Raises:
        BackendError: mlx's headers or nanobind are not installed, or nanobind is not mlx's.
    """
    core = _module_file("mlx.core", "mlx[cpu]" if sys.platform == "linux" else "mlx")
    mlx, mlx_version = core.parent, importlib.metadata.version("mlx")
    if not (mlx / "include" / "mlx" / MLX_HEADERS[-1]).is_file():
        raise BackendError(
            complaint("the bridge to MLX", "this mlx has no C++ headers", got=str(mlx / "include"))
        )
    internals = mlx_internals(core)
    nanobind = _module_file("nanobind", _nanobind_requirement(internals)).parent
    nanobind_version = importlib.metadata.version("nanobind")
    _check_nanobind(nanobind, nanobind_version, internals)
    suffix = str(sysconfig.get_config_var("EXT_SUFFIX"))
    system = f"{platform.system().lower()}-{platform.machine()}"
    digest = _digest(mlx, (mlx_version, nanobind_version, suffix, system, *FLAGS, _link_identity(mlx)))
    python = sysconfig.get_config_var("SOABI") or sys.implementation.cache_tag
    return Recipe(
        mlx_version=mlx_version,
        mlx=mlx,
        nanobind_version=nanobind_version,
        nanobind=nanobind,
        python_include=Path(sysconfig.get_paths()["include"]),
        suffix=suffix,
        key=f"mlx-{mlx_version}-nanobind-{nanobind_version}-{python}-{system}-{digest[:16]}",
    )


def _module_file(module: str, requirement: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise BackendError(
            complaint(
                "the bridge to MLX",
                f"{module} is not installed",
                hint=f"{sys.executable} -m pip install {shlex.quote(requirement)}",
            )
        )
    return Path(spec.origin)


def _link_identity(mlx: Path) -> str:
    # Linux finds the libmlx that mlx.core has loaded by its name alone; macOS by the path compiled in.
    return str(mlx) if sys.platform == "darwin" else ""


def _digest(mlx: Path, words: tuple[str, ...]) -> str:
    digest = hashlib.sha256("\0".join(words).encode())
    for file in [SOURCES / name for name in SOURCE_NAMES] + [
        mlx / "include" / "mlx" / name for name in MLX_HEADERS
    ]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def mlx_internals(core: Path) -> int | None:
    """Return the version of nanobind's internals in an extension module, None if none is found.

    nanobind 3 keeps its state under `nanobind_<platform>_a1_v22`, nanobind 2 under `v19_<platform>`.
    """
    binary = core.read_bytes()
    found = re.search(rb"nanobind_\w+_a\d+_v(\d+)(?:_stable)?\0", binary) or re.search(
        rb"\0v(\d+)_(?:system|clang|gcc|msvc)_\w*\0", binary
    )
    return int(found[1]) if found else None


def _nanobind_internals(nanobind: Path) -> int | None:
    for file in sorted((nanobind / "src").glob("nb_*.[ch]*")):
        if found := re.search(r"define +NB_INTERNALS_VERSION +(\d+)", file.read_text(encoding="utf-8")):
            return int(found[1])
    return None


def _nanobind_requirement(internals: int | None) -> str:
    return "nanobind" + NANOBIND_RELEASES.get(internals or 0, "")


def _check_nanobind(nanobind: Path, version: str, wanted: int | None) -> None:
    found = _nanobind_internals(nanobind)
    if wanted is None or found is None or wanted == found:
        return  # what cannot be told beforehand, the check after loading finds
    requirement = _nanobind_requirement(wanted)
    raise BackendError(
        complaint(
            "the bridge to MLX",
            "nanobind is not the one that mlx was built with",
            got=f"{version} (internals {found})",
            expected=f"{requirement} (internals {wanted})",
            hint=f"{sys.executable} -m pip install {shlex.quote(requirement)}",
        )
    )


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder that keeps what was built: $XDG_CACHE_HOME/jobkit or ~/.cache/jobkit."""
    if base := environ.get("XDG_CACHE_HOME"):
        return Path(base) / "jobkit"
    return Path(os.path.expanduser("~")) / ".cache" / "jobkit"  # noqa: PTH111 Path.home() raises where HOME is unknown


def _writable(folder: Path) -> Path:
    """Return `folder`, made if needed, or a private temporary one where it cannot be written."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="jobkit-mlx-"))


def build(environ: Mapping[str, str]) -> Path:
    """Return the compiled bridge, from the cache where it is there, else built now.

    Several processes may call this at once: one builds, the others wait for it.

    Raises:
        NoCompilerError: There is no C++ compiler.
        BackendError: It cannot be built, or another process has been building it for 300 s.
    """
    wanted = recipe()
    cached = cache_folder(environ) / f"{wanted.key}" / f"{MODULE}{wanted.suffix}"
    if cached.is_file():
        return cached
    command = compiler(environ)
    _check_python_headers(wanted.python_include)
    folder = _writable(cache_folder(environ))
    target = folder / wanted.key / cached.name
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
    spec = importlib.machinery.ModuleSpec(MODULE, loader, origin=str(file))
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
