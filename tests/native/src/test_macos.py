"""The engine compiled for macOS by a cross compiler: whether it runs there, this cannot tell."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BUILD_S = 900

# Forty files by another compiler: about a minute the first time, then what has changed.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(BUILD_S)]


def tool(name: str) -> str:
    """Return the path of a program of this environment, else of PATH; skip where there is none."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return found or pytest.skip(f"no {name} here")


def compiler() -> str:
    """Return the path of zig, the cross compiler that the test extra brings."""
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        pytest.skip("ziglang, a cross compiler, is not installed")
    return str(Path(spec.origin).with_name("zig"))


def command(line: list[str], environ: dict[str, str]) -> None:
    done = subprocess.run(line, env=environ, capture_output=True, text=True, timeout=BUILD_S)
    assert done.returncode == 0, f"{line} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"


def test_the_engine_compiles_for_macos_without_a_warning(repository: Path) -> None:
    cmake, zig = tool("cmake"), compiler()
    folder = repository / "build" / "macos"
    folder.mkdir(parents=True, exist_ok=True)
    cache = str(folder / "zig")
    environ = {**os.environ, "CXX": f"{zig} c++", "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    generator = ["-G", "Ninja"] if shutil.which("ninja", path=str(Path(cmake).parent)) else []
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command(
            [
                *(cmake, "-S", str(repository / "jobkit/native/src"), "-B", str(folder), *generator),
                *("-DCMAKE_SYSTEM_NAME=Darwin", "-DCMAKE_SYSTEM_PROCESSOR=arm64"),
                "-DCMAKE_CXX_COMPILER_TARGET=aarch64-macos",
                # Apple's own SDK is not here, and nothing is linked: zig would compile a C++ library first.
                *("-DCMAKE_OSX_SYSROOT=", "-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY"),
                *("-DJOBKIT_BINDINGS=OFF", "-DJOBKIT_WERROR=ON"),
            ],
            environ,
        )
        command([cmake, "--build", str(folder), "--parallel", "2"], environ)
    # The first four bytes of each member are those of a Mach-O file, 64 bits, little-endian.
    assert (folder / "libjobkit_engine.a").read_bytes().count(b"\xcf\xfa\xed\xfe\x0c\x00\x00\x01") > 20
