"""The nccl backend: where it is there, what it needs, and the group that it forms."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from jobkit.errors import BackendError
from jobkit.native import nccl

FULL = {"MLX_RANK": "0", "MLX_WORLD_SIZE": "2", "NCCL_HOST_IP": "127.0.0.1", "NCCL_PORT": "1"}


def test_it_is_configured_when_all_of_its_variables_are_set() -> None:
    assert nccl.is_configured(FULL)
    for name in nccl.VARIABLES:
        assert not nccl.is_configured({**FULL, name: ""})


def test_where_it_is_wanted_and_not_configured_it_names_what_is_not_set() -> None:
    with pytest.raises(BackendError, match="not configured: NCCL_HOST_IP, NCCL_PORT not set"):
        nccl.init({"MLX_RANK": "0", "MLX_WORLD_SIZE": "2"}, True)
    assert nccl.init({}, False) is None


def test_it_is_available_with_a_library_and_a_device(
    run_nccl: Callable[..., list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    source = """
        import logging
        logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
        print(dist.is_available("nccl"))
        os.environ["JOBKIT_CUDA_LIB"] = "/no/such"
        print(dist.is_available("nccl"))
    """
    (told,) = run_nccl(1, source, init=False)
    assert told.startswith("True\n")
    assert "not available: libcuda: cannot be loaded" in told
    assert told.endswith("False\n")


def test_without_a_library_it_is_not_available(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert not nccl.is_available({"JOBKIT_NCCL_LIB": "/no/such", "JOBKIT_CUDA_LIB": "/no/such"})
    assert "not available: " in caplog.text


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("MLX_RANK", "2", "MLX_RANK: no such rank, got '?2'?"),
        ("MLX_RANK", "one", "MLX_RANK: not a number"),
        ("NCCL_PORT", "70000", "NCCL_PORT: no port"),
        ("MLX_NCCL_TIMEOUT", "soon", "MLX_NCCL_TIMEOUT: not a number"),
    ],
)
def test_variables_that_make_no_sense_are_errors(name: str, value: str, told: str) -> None:
    with pytest.raises(BackendError, match=told):
        nccl.init({**FULL, name: value}, False)


def test_the_deadline_is_mlxs_or_that_of_all_backends() -> None:
    assert nccl.connect_timeout_s({}) == 300.0
    assert nccl.connect_timeout_s({"JOBKIT_CONNECT_TIMEOUT_S": "7"}) == 7.0
    assert nccl.connect_timeout_s({"MLX_NCCL_TIMEOUT": "2500", "JOBKIT_CONNECT_TIMEOUT_S": "7"}) == 2.5


def test_a_rank_alone_needs_neither_library_nor_device() -> None:
    world = nccl.init({**FULL, "MLX_WORLD_SIZE": "1"}, True)
    assert world is not None
    assert (world.size(), world.backend, world.devices) == (1, "nccl", None)


def test_it_is_what_any_means_where_its_variables_are_set(run_nccl: Callable[..., list[str]]) -> None:
    source = """
        world = dist.init()
        print(world, to_host(dist.all_sum(to_device(np.ones(2)))).tolist())
    """
    expected = [f"<jobkit.native.Group nccl: rank {rank} of 2> [2.0, 2.0]\n" for rank in range(2)]
    assert run_nccl(2, source, init=False) == expected


@pytest.mark.parametrize(
    ("lacks", "told"),
    [
        ('os.environ["STANDIN_DEVICES"] = "0"', "no CUDA-capable device is detected"),
        ('os.environ["JOBKIT_CUDA_LIB"] = "/no/such"', "libcuda: cannot be loaded"),
        ('os.environ["STANDIN_VERSION"] = "22600"', "different versions of NCCL: 22600 on ranks"),
    ],
)
def test_what_one_rank_lacks_all_of_them_say(
    run_nccl: Callable[..., list[str]], lacks: str, told: str
) -> None:
    source = f"""
        if os.environ["MLX_RANK"] == "1":
            cuda._driver.cache_clear()
            {lacks}
        print(error_of(dist.init, backend="nccl"))
    """
    for output in run_nccl(3, source, init=False):
        assert told in output


def test_ranks_that_nccl_cannot_connect_say_so_in_time(run_nccl: Callable[..., list[str]]) -> None:
    source = """
        if os.environ["MLX_RANK"] == "1":
            fault("ncclCommInitRankConfig", PROGRESS)
        print(error_of(dist.init, backend="nccl"))
        print(count("ncclCommAbort"))
    """
    for output in run_nccl(2, source, init=False, MLX_NCCL_TIMEOUT="2000"):
        assert "waited 2.0 s for NCCL to connect the ranks" in output
        assert output.endswith("\n1\n")


def test_under_the_shim_ranks_meet_through_its_table(
    run_nccl: Callable[..., list[str]], tmp_path: Path, reserve_ports: Callable[..., object]
) -> None:
    with reserve_ports(2) as ports:  # type: ignore[attr-defined]
        gang, token = tmp_path / "gang.json", tmp_path / "token"
        where = {"host": "localhost", "node": "boot:net", "addresses": ["127.0.0.1"]}
        ranks = [{"rank": rank, "port": port, **where} for rank, port in enumerate(ports)]
        gang.write_text(json.dumps({"schema": 1, "job": "j", "attempt": 1, "size": 2, "ranks": ranks}))
        token.write_text("7f" * 32)
        token.chmod(0o600)
        source = """
            world = dist.init()
            print(world.backend, world.is_authenticated, dist.all_gather_object(world.rank()))
        """
        names = {"JOBKIT_GANG_FILE": str(gang), "JOBKIT_TOKEN_FILE": str(token), "JOBKIT_BACKEND": "nccl"}
        assert run_nccl(2, source, init=False, **names) == ["nccl True [0, 1]\n"] * 2


def test_each_rank_of_a_node_has_a_device_of_its_own(run_nccl: Callable[..., list[str]]) -> None:
    source = "print(world.devices.device.ordinal, to_host(dist.all_sum(to_device(np.ones(1)))).tolist())"
    expected = [f"{rank % 2} [3.0]\n" for rank in range(3)]
    assert run_nccl(3, source, STANDIN_DEVICES="2") == expected


# MLX's documentation, "Selecting Backend": a backend that is named, any, and two at once.
@pytest.mark.parametrize("first", ["ring", "nccl"])
def test_the_documents_caching_cases_hold_with_two_backends_up_at_once(
    run_nccl: Callable[..., list[str]], tmp_path: Path, reserve_ports: Callable[..., object], first: str
) -> None:
    second = "nccl" if first == "ring" else "ring"
    source = f"""
        first = dist.init(backend="{first}")
        assert dist.init(backend="{first}") is first and dist.init() is first
        second = dist.init(backend="{second}")
        assert second is not first and second.backend == "{second}"
        assert dist.init() is first and dist.init(backend="any") is first
        assert dist.init(backend="{second}") is second and dist.init(backend="{first}") is first
        for group in (first, second, first):
            assert dist.all_sum(np.ones(2), group=group).tolist() == [2, 2]
        on_device = dist.init(backend="nccl")
        assert to_host(dist.all_sum(to_device(np.ones(2)), group=on_device)).tolist() == [2, 2]
        assert dist.all_sum(np.ones(1)).tolist() == [2]
        dist.shutdown()
        assert dist.init() is dist.init(backend="nccl")
        print(dist.init().backend)
    """
    with reserve_ports(2) as ports:  # type: ignore[attr-defined]
        hosts = tmp_path / "hosts.json"
        hosts.write_text(json.dumps([[f"127.0.0.1:{port}"] for port in ports]))
        found = run_nccl(2, source, init=False, MLX_HOSTFILE=str(hosts))
    assert found == ["nccl\n"] * 2
