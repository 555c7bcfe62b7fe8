"""The mpi backend under real launchers and libraries: those of the system, and of JOBKIT_TEST_MPI_PYTHONS."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from clusters import mpi as launchers

from jobkit.errors import BackendError
from jobkit.native import mpi, mpi_library

pytest.importorskip("jobkit.native._core")

DEADLINE_S = 150
ROOT = Path(__file__).parents[2]
# Of the wheels: with these and no others every test is run, the rest is asked for one sum.
MAIN = ("Open MPI 5", "MPICH 5")

PRELUDE = """
import os, sys, time
import numpy as np
import jobkit.native as dist
from jobkit.errors import BackendError
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


def found(name: str) -> launchers.Mpi:
    launcher = launchers.find(name)
    if isinstance(launcher, str):
        pytest.skip(launcher)
    return launcher


@pytest.fixture(params=MAIN)
def launcher(request: pytest.FixtureRequest) -> launchers.Mpi:
    return found(request.param)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A function: run a program text as n ranks of a launcher; named arguments are environment variables."""
    binding = launchers.mpi4py()
    if binding is None:
        pytest.skip("no environment with mpi4py is named")
    # Only that package: the rest is this interpreter's, in which jobkit is.
    (tmp_path / "site").mkdir()
    (tmp_path / "site/mpi4py").symlink_to(binding)

    def start(
        launcher: launchers.Mpi,
        n: int,
        source: str,
        library: str = "",
        deadline_s: float = DEADLINE_S,
        **environ: str,
    ) -> subprocess.CompletedProcess[str]:
        paths = [str(tmp_path / "site"), str(Path(__file__).parent), str(ROOT / "tests"), *sys.path[1:]]
        (tmp_path / "program.py").write_text(PRELUDE + textwrap.dedent(source))
        own = {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "XDG_CACHE_HOME": str(tmp_path),
            "MPI4PY_LIBMPI": library or launcher.library,
        }
        command = launcher.command(n, sys.executable, str(tmp_path / "program.py"), here=True)
        return subprocess.run(
            command,
            env=os.environ | own | environ,
            capture_output=True,
            text=True,
            timeout=deadline_s,
            check=False,
        )

    return start


def printed(done: subprocess.CompletedProcess[str]) -> str:
    """Return what the ranks wrote, without the ends of lines, which come in any order."""
    assert done.returncode == 0, done.stdout + done.stderr
    return "".join(done.stdout.split())


# --- operations ---

TABLE = """
import test_operations as table
world = dist.init(backend="mpi")
n = table.walk(world)
expected = len(table.TYPES) * len(table.sizes(world.size())) * (18 if world.size() > 1 else 16)
print("right" if n == expected else n)
"""


@pytest.mark.parametrize("n", [2, 3, 4])
def test_the_whole_table_agrees_with_numpy(launcher: launchers.Mpi, run: Run, n: int) -> None:
    assert printed(run(launcher, n, TABLE)) == "right" * n


@pytest.mark.parametrize("name", [name for name in launchers.NAMES if name not in MAIN])
def test_ranks_sum_with_every_library(run: Run, tmp_path: Path, name: str) -> None:
    source = """
    world = dist.init()  # by what the launcher says alone
    x = np.arange(300_000, dtype=np.float32) + world.rank()
    assert np.array_equal(dist.all_sum(x), 3 * np.arange(300_000, dtype=np.float32) + 3)
    os.write(1, f"{world.backend}{world.size()} ".encode())  # in one piece
    """
    launcher = found(name)
    environ = {}
    library = launcher.library
    if name == "MPICH 4":  # Debian's has a name of its own, under which the wheel of mpi4py does not find it
        library = str(tmp_path / "libmpi.so.12")
        where = next(Path("/usr/lib").glob("*-linux-gnu/libmpich.so.12"))
        Path(library).symlink_to(where)
        environ["LD_LIBRARY_PATH"] = str(tmp_path)
    assert printed(run(launcher, 3, source, library, **environ)) == "mpi3" * 3


MIXTURE = """
world = dist.init(strict=True, backend="mpi")
rank, n = world.rank(), world.size()
x = np.arange(200_000, dtype=np.float32) + rank

# Handles, waited for in any order, and what waits beside them.
later = [dist.all_sum(x[:size], wait=False) for size in (1, 1000, 200_000)]
now = dist.all_max(np.array([rank]))
assert now[0] == n - 1
for size, each in reversed(list(zip((1, 1000, 200_000), later))):
    assert np.array_equal(each.wait(), n * np.arange(size, dtype=np.float32) + n * (n - 1) // 2), size

# Any pair, with tags out of order, larger than what the library sends at once.
others = [r for r in range(n) if r != rank]
sent = [dist.send(x * tag, to, tag, wait=False) for tag in (1, 2) for to in others]
for tag in (2, 1):
    for source in others:
        got = dist.recv((200_000,), np.float32, source, tag)
        assert np.array_equal(got, (np.arange(200_000, dtype=np.float32) + source) * tag), (tag, source)
for each in sent:
    each.wait()

# Parts of the group, the ranks of one in reverse order, beside the whole.
part = world.split(rank % 2, key=n - rank)
assert part.size() == (n + 1 - rank % 2) // 2
members = dist.all_gather(np.array([rank]), group=part)
assert members.tolist() == [r for r in reversed(range(n)) if r % 2 == rank % 2]
assert dist.all_sum(np.array([1]))[0] == n

with world.coalesce():
    outs = [np.empty(3, np.float32) for _ in range(10)]
    for i, out in enumerate(outs):
        dist.all_sum(np.full(3, i, np.float32), out=out)
assert [out[0] for out in outs] == [i * n for i in range(10)]
assert dist.all_gather_object({"rank": rank}) == [{"rank": r} for r in range(n)]
dist.barrier(timeout=60)
print("right", flush=True)
dist.shutdown()
assert dist.init(strict=True, backend="mpi") is not world  # MPI itself starts once in a process
assert dist.all_sum(np.array([1]))[0] == n
"""


def test_handles_messages_parts_and_a_second_group(launcher: launchers.Mpi, run: Run) -> None:
    assert printed(run(launcher, 3, MIXTURE)) == "right" * 3


def test_calls_are_compared_first_where_that_is_asked_for(launcher: launchers.Mpi, run: Run) -> None:
    source = """
    world = dist.init(strict=True, backend="mpi")
    x = np.ones(4, np.float32)
    try:
        dist.all_sum(x, scale=0.5 if world.rank() else 1.0)
    except BackendError as error:
        print("scaled by 0.5" in str(error))
        sys.exit(0)
    """
    done = run(launcher, 2, source, JOBKIT_CHECK="1")
    assert "".join(done.stdout.split()) == "TrueTrue", done.stderr


@pytest.mark.slow
@pytest.mark.timeout(700)
@pytest.mark.parametrize("name", MAIN)
def test_more_than_two_to_the_31_elements_in_place(run: Run, name: str) -> None:
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if pages < 8 << 30:
        pytest.skip(f"needs 8 GiB of free memory, there are {pages >> 30}")
    source = """
    world = dist.init(strict=True, backend="mpi")
    x = np.full(2**31 + 5, 100 + world.rank(), np.uint8)
    x[-1] = 7
    assert dist.all_sum(x, out=x) is x
    assert (x[::65537] == 201).all() and x[2**31 + 3] == 201 and x[-1] == 14
    print("right")
    """
    assert printed(run(found(name), 2, source, deadline_s=600)) == "right" * 2


# --- what goes wrong ---


def test_a_mistake_raises_on_every_rank_and_ends_with_the_programs_status(
    launcher: launchers.Mpi, run: Run
) -> None:
    source = """
    world = dist.init(strict=True, backend="mpi")
    try:
        dist.all_sum(np.ones(4 + (world.rank() == 1), np.float32))
    except BackendError as error:
        kept = "called all_sum(float32, 4 elements)" in str(error)
        kept &= "called all_sum(float32, 5 elements)" in str(error)
        print("named" if kept else error, flush=True)
        time.sleep(2)  # nothing is aborted before the program ends by itself
        print("alive", flush=True)
        time.sleep(2)
        sys.exit(7)
    """
    done = run(launcher, 3, source)
    assert done.stdout.count("named") == done.stdout.count("alive") == 3, done.stdout + done.stderr
    # What mpiexec makes of that is its own: the first status, or that of the ranks that it then kills.
    assert done.returncode != 0
    assert re.search(r"(?i)errorcode:? 7|MPI_Abort\(comm=\w+, 7\)", done.stderr), done.stderr


def test_a_rank_that_does_not_come_is_named(launcher: launchers.Mpi, run: Run) -> None:
    source = """
    world = dist.init(strict=True, backend="mpi")
    x = np.ones(300_000, np.float32)
    if world.rank() == 1:
        time.sleep(3)
    try:
        dist.all_sum(x, timeout=0.5 if world.rank() == 0 else 60)
    except BackendError as error:
        print("rank 1" in str(error), "all_sum #1" in str(error), flush=True)
        try:
            dist.barrier()
        except BackendError as error:
            print("at once", flush=True)
    time.sleep(4)
    """
    done = run(launcher, 2, source)
    assert done.stdout.count("True True") == done.stdout.count("at once") == 2, done.stdout + done.stderr


def test_a_handle_may_fail_unseen_and_the_next_call_tells(launcher: launchers.Mpi, run: Run) -> None:
    source = """
    world = dist.init(strict=True, backend="mpi")
    dist.all_sum(np.ones(300_000 + world.rank(), np.float32), wait=False)
    time.sleep(1)
    try:
        dist.barrier()
    except BackendError as error:
        print("calls differ" in str(error), flush=True)
    time.sleep(2)
    """
    assert run(launcher, 2, source).stdout.count("True") == 2


def test_a_rank_may_leave_early(launcher: launchers.Mpi, run: Run) -> None:
    source = """
    world = dist.init(strict=True, backend="mpi")
    x = np.full(100_000, 3.0)
    if world.rank() == 0:
        dist.send(x, 1)
        dist.shutdown()  # what was sent arrives
    elif world.rank() == 1:
        time.sleep(1)
        print(dist.recv((100_000,), np.float64, 0).sum() == 300_000.0)
    """
    assert printed(run(launcher, 3, source)) == "True"


@pytest.mark.parametrize(("name", "other"), [("MPICH 5", "Open MPI 5"), ("Open MPI 5", "MPICH 5")])
def test_another_library_than_the_launchers_is_an_error_that_names_both(
    run: Run, name: str, other: str
) -> None:
    done = run(found(name), 2, "dist.init(backend='mpi')", library=found(other).library)
    assert done.returncode != 0
    vendor, extra = ("Open MPI", "mpich") if name == "MPICH 5" else ("MPICH", "openmpi")
    assert f"started 2 ranks, and {vendor} 5" in done.stderr
    assert ", expected the library of that launcher" in done.stderr
    assert f"pip install 'jobkit[{extra}]'" in done.stderr


def test_nothing_happens_when_jobkit_is_imported(launcher: launchers.Mpi, run: Run) -> None:
    source = """
    assert not any(name.startswith("mpi4py") for name in sys.modules)
    world = dist.init(strict=True, backend="mpi")
    from mpi4py import MPI
    print(MPI.Query_thread() >= MPI.THREAD_SERIALIZED)
    """
    assert printed(run(launcher, 2, source)) == "TrueTrue"


def test_a_library_that_serves_one_thread_has_no_handles(launcher: launchers.Mpi, run: Run) -> None:
    source = """
    import mpi4py
    mpi4py.rc.thread_level = "single"
    from mpi4py import MPI
    if MPI.Query_thread() >= MPI.THREAD_SERIALIZED:
        print("all levels are one")
        sys.exit(0)
    dist.init(strict=True, backend="mpi")
    assert dist.all_sum(np.array([1]))[0] == 2
    try:
        dist.all_sum(np.array([1]), wait=False)
    except BackendError as error:
        print("initialised before" in str(error) and "init(backend='mpi') first" in str(error))
    assert dist.all_sum(np.array([1]))[0] == 2
    """
    assert printed(run(launcher, 2, source)) in ("TrueTrue", 2 * "alllevelsareone")


# --- without a launcher ---


@pytest.mark.parametrize("name", ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_a_launcher_of_several_processes_configures_it(name: str) -> None:
    assert mpi.is_configured({name: "2"})
    assert not mpi.is_configured({name: "1"})
    assert not mpi.is_configured({})


def test_a_step_of_slurm_configures_it_where_it_offers_pmi() -> None:
    assert mpi.is_configured({"SLURM_STEP_NUM_TASKS": "2", "PMIX_RANK": "0"})
    assert not mpi.is_configured({"SLURM_STEP_NUM_TASKS": "2"})


def test_where_something_is_missing_it_says_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mpi_library, "missing", lambda _: "mpi4py is not installed")
    assert not mpi.is_available({})
    assert mpi.init({}, False) is None
    with pytest.raises(BackendError, match=r"backend mpi: mpi4py is not installed(.|\n)*jobkit\[openmpi\]"):
        mpi.init({"PMI_SIZE": "2"}, False)


def test_a_process_alone_is_no_group(launcher: launchers.Mpi, run: Run) -> None:
    source = """
    assert dist.init(backend="mpi").size() == 1
    assert "mpi4py" not in sys.modules
    try:
        dist.init(strict=True, backend="mpi")
    except BackendError as error:
        print("all of the world of" in str(error))
    """
    assert printed(run(launcher, 1, source)) == "True"
