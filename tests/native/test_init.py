"""The public API, its names, and the group that a process's environment gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jobkit.native as dist
from jobkit.errors import BackendError


def test_the_names_are_sorted_and_there() -> None:
    assert dist.__all__ == sorted(dist.__all__)
    assert all(hasattr(dist, name) for name in dist.__all__)


def test_every_name_of_mlx_but_its_types_is_there() -> None:
    mx = pytest.importorskip("mlx.core")
    names = {name for name in dir(mx.distributed) if not name.startswith("_")}
    assert names <= set(dist.__all__)


def test_importing_needs_neither_mlx_nor_the_engine() -> None:
    code = "import jobkit.native, sys; print([m for m in sys.modules if 'mlx' in m or m.endswith('_core')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = [name for name in eval(done.stdout) if not name.startswith("numpy")]
    assert loaded == []


def test_alone_every_collective_returns_its_input() -> None:
    x = np.arange(6.0).reshape(2, 3)
    for name in ("all_sum", "all_max", "all_min", "all_gather", "sum_scatter", "all_to_all"):
        assert getattr(dist, name)(x) is x
    for name in ("broadcast", "gather", "scatter"):
        assert getattr(dist, name)(x, 0) is x
    tree = {"w": x}
    assert dist.average_gradients(tree) is tree
    assert dist.broadcast_tree(tree) is tree
    assert dist.all_gather_object("x") == ["x"]
    assert dist.broadcast_object("x") == "x"
    dist.assert_same(tree)
    dist.barrier()


def test_alone_a_0d_array_is_gathered_unchanged() -> None:
    assert dist.all_gather(np.float32(3)).shape == ()


def test_alone_out_and_scale_still_count() -> None:
    x, out = np.arange(4, dtype=np.float32), np.empty(4, np.float32)
    assert dist.all_sum(x, out=out, scale=0.5) is out
    assert out.tolist() == [0, 0.5, 1, 1.5]


def test_alone_wrong_arguments_are_still_errors() -> None:
    with pytest.raises(TypeError, match="not an array"):
        dist.all_sum([1, 2])
    with pytest.raises(ValueError, match="root: no such rank, got 1"):
        dist.broadcast(np.zeros(1), 1)
    with pytest.raises(ValueError, match="op: unknown, got 'mean'"):
        dist.sum_scatter(np.zeros(1), "mean")
    with pytest.raises(TypeError, match="integers are not scaled"):
        dist.all_sum(np.arange(2), scale=0.5)


def test_alone_messages_raise_as_in_mlx() -> None:
    x = np.zeros(1)
    for call in (
        lambda: dist.send(x, 0),
        lambda: dist.recv((1,), np.float32, 0),
        lambda: dist.recv_like(x, 0),
        lambda: dist.sendrecv(x, 0, 0),
    ):
        with pytest.raises(ValueError, match="a group of one"):
            call()


def test_alone_any_color_gives_a_group_of_one() -> None:
    for color in (0, 5):
        part = dist.split(color)
        assert part is not None
        assert part.size() == 1
    assert dist.split(None) is None
    with pytest.raises(ValueError, match="not a color, got -1"):
        dist.split(-1)


def test_what_is_available_is_said_by_name() -> None:
    pytest.importorskip("jobkit.native._core")
    found = {name: dist.is_available(name) for name in ("any", "ring", "jaccl", "nccl", "gloo")}
    assert found == {"any": True, "ring": True, "jaccl": False, "nccl": False, "gloo": False}


# --- processes ---


def run_program(source: str, environs: list[dict[str, str]]) -> list[tuple[int, str, str]]:
    """Run a program once per environment, at the same time; return (status, stdout, stderr) of each."""
    base = {name: value for name, value in os.environ.items() if not name.startswith(("MLX_", "JOBKIT_"))}
    command = [sys.executable, "-c", textwrap.dedent(source)]
    with ExitStack() as stack:
        running = [
            stack.enter_context(
                subprocess.Popen(command, env=base | environ, stdout=-1, stderr=-1, stdin=-3, text=True)
            )
            for environ in environs
        ]
        try:
            outputs = [process.communicate(timeout=60) for process in running]
        finally:
            for process in running:
                process.kill()
    return [(process.returncode, *output) for process, output in zip(running, outputs, strict=True)]


def hostfile_environs(tmp_path: Path, ports: list[int]) -> list[dict[str, str]]:
    path = tmp_path / "hosts.json"
    path.write_text(json.dumps([[f"127.0.0.1:{port}"] for port in ports]))
    return [{"MLX_RANK": str(rank), "MLX_HOSTFILE": str(path)} for rank in range(len(ports))]


def gang_environs(tmp_path: Path, ports: list[int]) -> list[dict[str, str]]:
    ranks = [
        {"rank": rank, "host": "localhost", "node": "boot:net", "addresses": ["127.0.0.1"], "port": port}
        for rank, port in enumerate(ports)
    ]
    gang, token = tmp_path / "gang.json", tmp_path / "token"
    gang.write_text(json.dumps({"schema": 1, "job": "j", "attempt": 1, "size": len(ports), "ranks": ranks}))
    token.write_text("7f" * 32)
    token.chmod(0o600)
    files = {"JOBKIT_GANG_FILE": str(gang), "JOBKIT_TOKEN_FILE": str(token)}
    size = str(len(ports))
    return [
        {**files, "JOBKIT_RANK": str(r), "JOBKIT_SIZE": size, "JOBKIT_BACKEND": "ring"}
        for r in range(len(ports))
    ]


PROGRAM = """
    import numpy as np
    import jobkit.native as dist

    world = dist.init(strict=True)
    x = dist.all_sum(np.ones(10, np.float32))
    print(world.rank(), world.size(), world.is_authenticated, x.tolist() == [world.size()] * 10)
"""


@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize(
    "environs", [hostfile_environs, gang_environs], ids=["MLX_HOSTFILE", "JOBKIT_GANG_FILE"]
)
def test_processes_meet_and_sum(tmp_path: Path, reserve_ports: Any, environs: Any, n: int) -> None:
    pytest.importorskip("jobkit.native._core")
    with reserve_ports(n) as ports:
        results = run_program(PROGRAM, environs(tmp_path, ports))
    is_gang = environs is gang_environs
    expected = [(0, f"{rank} {n} {is_gang or n == 1} True\n", "") for rank in range(n)]
    assert results == expected


def test_a_program_that_shuts_down_can_start_anew(tmp_path: Path, reserve_ports: Any) -> None:
    pytest.importorskip("jobkit.native._core")
    source = """
        import numpy as np
        import jobkit.native as dist

        for round in range(3):
            world = dist.init()
            assert dist.init() is world
            print(dist.all_sum(round + world.rank()))
            dist.shutdown()
    """
    with reserve_ports(2) as ports:
        results = run_program(source, gang_environs(tmp_path, ports))
    assert results == [(0, "1\n3\n5\n", "")] * 2


def test_a_rank_that_does_not_come_is_named_at_the_deadline(tmp_path: Path, reserve_ports: Any) -> None:
    pytest.importorskip("jobkit.native._core")
    with reserve_ports(2) as ports:
        environ = gang_environs(tmp_path, ports)[0] | {"JOBKIT_CONNECT_TIMEOUT_S": "1"}
        ((status, _, stderr),) = run_program(PROGRAM, [environ])
    assert status == 1
    assert "[ring] rank 0 of 2: waited 1.0 s for rank 1" in stderr


def test_a_child_of_a_fork_does_not_get_its_parents_group(tmp_path: Path, reserve_ports: Any) -> None:
    pytest.importorskip("jobkit.native._core")
    source = """
        import os, warnings
        import jobkit.native as dist

        warnings.simplefilter("ignore")  # of fork beside threads
        world = dist.init()
        if child := os.fork():
            os.waitpid(child, 0)
            print(dist.all_sum(1))
        else:
            try:
                print(dist.init(), flush=True)
            except RuntimeError as error:
                print(error, flush=True)
            os._exit(0)
    """
    with reserve_ports(2) as ports:
        results = run_program(source, gang_environs(tmp_path, ports))
    for status, stdout, _ in results:
        assert status == 0
        assert stdout.startswith("backend ring: its group belongs to the process that forked this one")
        assert stdout.endswith("\n2\n")


@pytest.mark.parametrize(
    "waiting",
    ["dist.recv((1,), 'float32', 1 - world.rank())", "while True: dist.all_sum(np.ones(9))"],
    ids=["in one call", "in one after another"],
)
def test_a_daemon_thread_in_an_operation_does_not_spoil_the_exit(
    tmp_path: Path, reserve_ports: Any, waiting: str
) -> None:
    pytest.importorskip("jobkit.native._core")
    source = f"""
        import threading, time
        import numpy as np
        import jobkit.native as dist

        world = dist.init()

        def wait():
            {waiting}

        threading.excepthook = lambda failed: None
        threading.Thread(target=wait, daemon=True).start()
        time.sleep(0.5)
    """
    with reserve_ports(2) as ports:
        results = run_program(source, gang_environs(tmp_path, ports))
    assert results == [(0, "", "")] * 2


def test_a_broken_environment_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "hosts.json"
    path.write_text("not json")
    monkeypatch.setenv("MLX_HOSTFILE", str(path))
    monkeypatch.setenv("MLX_RANK", "0")
    for strict in (False, True):
        with pytest.raises(BackendError, match=r"hosts\.json: not JSON"):
            dist.init(strict=strict)


def test_the_environment_is_read_when_init_is_called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert dist.init().backend == "none"
    path = tmp_path / "hosts.json"
    path.write_text('[["localhost:1"]]')
    monkeypatch.setenv("MLX_HOSTFILE", str(path))
    monkeypatch.setenv("MLX_RANK", "0")
    assert dist.init().backend == "ring"
