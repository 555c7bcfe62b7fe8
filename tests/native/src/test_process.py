"""What the engine has in a process: threads and descriptors."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
RunProcesses = Callable[..., list[str]]


def test_there_is_one_thread_for_control_and_one_for_handles_once_there_is_any(
    run_processes: RunProcesses,
) -> None:
    program = """
    def n_threads():
        return len(os.listdir("/proc/self/task"))

    found = [n_threads()]
    x = np.ones(100_000)
    dist.all_sum(x)
    dist.send(x, 1 - world.rank())
    dist.recv_like(x, 1 - world.rank())
    part = world.split(0)
    dist.all_sum(x, group=part)
    found.append(n_threads())
    dist.all_sum(x, wait=False).wait()
    dist.all_sum(x, wait=False).wait()
    found.append(n_threads())
    dist.shutdown()
    del world, part
    found.append(n_threads())
    print([n - found[0] for n in found])
    """
    assert run_processes(2, program) == ["[0, 0, 1, -1]\n"] * 2


@pytest.mark.parametrize("shared", ["0", "1"], ids=["tcp", "memory"])
def test_no_descriptor_of_the_engine_goes_to_programs_that_are_started(
    run_processes: RunProcesses, shared: str
) -> None:
    program = """
    dist.all_sum(np.ones(100_000), wait=False).wait()
    found = [int(name) for name in os.listdir("/proc/self/fd")]
    found = [each for each in found if each > 2 and os.path.exists(f"/proc/self/fd/{each}")]
    print(len(found) > 2, [each for each in found if os.get_inheritable(each)])
    """
    assert run_processes(2, program, JOBKIT_SHM=shared) == ["True []\n"] * 2
