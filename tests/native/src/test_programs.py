"""The programs in C++ (programs/) under sanitizers: the engine with ranks as threads, and its pure parts."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SANITIZERS = {"address": "address,undefined", "thread": "thread"}
BUILD_S = 900
RUN_S = 300
FUZZ_S = 10

# A compiler and two sets of sanitizers: more than other tests may take.
pytestmark = pytest.mark.timeout(BUILD_S + RUN_S)


def tool(name: str) -> str | None:
    """Return the path of a program: beside this Python, where `pip install cmake` puts it, or in PATH."""
    return shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def command(line: list[str], seconds: float) -> str:
    """Run a program to its end and return what it said."""
    done = subprocess.run(line, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, f"{line} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def can_link(compiler: str, flags: str, folder: Path) -> bool:
    """Return whether the compiler has these sanitizers, by trying."""
    source = folder / "empty.cc"
    source.write_text("int main() {}\n")
    line = [compiler, f"-fsanitize={flags}", "-o", str(folder / "empty"), str(source)]
    return subprocess.run(line, capture_output=True).returncode == 0


@pytest.fixture
def built(repository: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A function: compile the programs with some sanitizers, once for all, and return where they are."""

    def build(sanitizers: str) -> Path:
        cmake, compiler = tool("cmake"), os.environ.get("CXX") or tool("c++")
        if cmake is None or compiler is None:
            pytest.skip(f"no {'CMake' if cmake is None else 'C++ compiler'} here")
        if not can_link(compiler, SANITIZERS[sanitizers], tmp_path):
            pytest.skip(f"{compiler} has no sanitizers for {SANITIZERS[sanitizers]}")
        folder = repository / "build" / "programs" / sanitizers
        folder.mkdir(parents=True, exist_ok=True)
        generator = ["-G", "Ninja"] if tool("ninja") else []
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            command(
                [
                    *(cmake, "-S", str(Path(__file__).parent / "programs"), "-B", str(folder), *generator),
                    f"-DCMAKE_CXX_COMPILER={compiler}",
                    f"-DJOBKIT_SANITIZERS={SANITIZERS[sanitizers]}",
                ],
                BUILD_S,
            )
            command([cmake, "--build", str(folder), "--parallel", "2"], BUILD_S)
        return folder

    return build


@pytest.fixture
def run_program(built: Callable[[str], Path]) -> Callable[..., str]:
    """A function: run a program with its words under some sanitizers and return what it said."""

    def run(name: str, *words: str, sanitizers: str) -> str:
        program = str(built(sanitizers) / name)
        # The thread sanitizer wants its memory where random addresses may lie.
        steady = ["setarch", platform.machine(), "-R"] if sanitizers == "thread" and tool("setarch") else []
        return command([*steady, program, *words], RUN_S)

    return run


@pytest.mark.parametrize("program", ["plans", "reductions"])
def test_pure_parts_keep_within_their_bounds(run_program: Callable[..., str], program: str) -> None:
    assert f"{program}: ok" in run_program(program, sanitizers="address")


def test_nothing_that_anybody_sends_makes_a_parser_crash_or_hang(run_program: Callable[..., str]) -> None:
    assert "parsers: ok" in run_program("parsers", str(FUZZ_S), sanitizers="address")


@pytest.mark.parametrize("sanitizers", SANITIZERS)
def test_the_byte_ring_between_two_threads(run_program: Callable[..., str], sanitizers: str) -> None:
    assert "ring: ok" in run_program("ring", sanitizers=sanitizers)


# Of the modes of the stand-in for RDMA, only under the sanitizer that knows of memory: the thread sanitizer
# sees nothing of what goes through a file that is mapped twice.
CABLES = [("address", mode) for mode in ("rc", "uc", "apple,reorder")]


@pytest.mark.parametrize(("sanitizers", "mode"), CABLES)
def test_the_engine_over_rdma_cables(run_program: Callable[..., str], sanitizers: str, mode: str) -> None:
    assert "ranks: ok" in run_program("ranks", mode, sanitizers=sanitizers)


@pytest.mark.parametrize("links", ["tcp", "shm"])
@pytest.mark.parametrize("sanitizers", SANITIZERS)
def test_the_engine_with_ranks_as_threads(
    run_program: Callable[..., str], sanitizers: str, links: str
) -> None:
    assert "ranks: ok" in run_program("ranks", links, sanitizers=sanitizers)
