"""Everything that a build of the bridge to MLX depends on, and a name for it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import platform
import re
import shlex
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from jobkit.errors import BackendError, complaint

SOURCES = Path(__file__).resolve().parent.parent / "src"
SOURCE_NAMES = ("mlx_group.cc", "capi.h", "dtype.h", "gil.h", "reduce.h")
# The headers of mlx that fix the layout of what the bridge shares with it.
MLX_HEADERS = ("array.h", "allocator.h", "backend/cpu/encoder.h", "distributed/distributed_impl.h")
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
