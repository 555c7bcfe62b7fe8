"""Ranks find each other, and nobody else finds them."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

MODES = ["gang", "hostfile"]
Connect = Callable[..., Any]
Reserve = Callable[[int], contextlib.AbstractContextManager[list[int]]]
RunThreads = Callable[..., list[Any]]


def hosts_of(ports: list[int], host: str = "127.0.0.1") -> list[list[str]]:
    return [[f"{host}:{port}"] for port in ports]


def total(group: Any) -> float:
    """Return the sum of ones over the group: its size, if it works."""
    data = np.ones(1000, np.float32)
    group.all_reduce(0, data, data, data.size, 11)
    return float(data[-1])


def listening(port: int) -> bool:
    """Return whether somebody accepts connections on the port."""
    with contextlib.closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll a condition up to a generous limit."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


@contextlib.contextmanager
def late_rank(run: Callable[[], Any]) -> Iterator[list[Any]]:
    """Run something in a thread; its result or exception is in the list afterwards."""
    result: list[Any] = []

    def main() -> None:
        try:
            result.append(run())
        except BaseException as error:  # noqa: BLE001 - handed to the test
            result.append(error)

    thread = threading.Thread(target=main, daemon=True)
    thread.start()
    yield result
    thread.join(60)
    assert result, "it hangs"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_ranks_meet_on_every_kind_of_address(
    reserve_ports: Reserve, run_threads: RunThreads, host: str, mode: str
) -> None:
    with reserve_ports(3) as ports:
        assert run_threads(hosts_of(ports, host), total, mode=mode) == [3.0] * 3


def test_an_address_that_nobody_answers_is_passed_over_in_a_gang(
    reserve_ports: Reserve, run_threads: RunThreads
) -> None:
    with reserve_ports(4) as ports:
        hosts = [[f"127.0.0.1:{ports[0]}"], [f"127.0.0.1:{ports[2]}", f"127.0.0.1:{ports[1]}"]]
        hosts[1][0] = "192.0.2.1:9"  # TEST-NET-1: not this host's, and nobody's
        assert run_threads(hosts, total) == [2.0] * 2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", [2, 3])
def test_contract_ports_are_closed_once_the_ranks_have_met(
    reserve_ports: Reserve, run_threads: RunThreads, n: int, mode: str
) -> None:
    with reserve_ports(n) as ports:

        def program(group: Any) -> list[bool]:
            total(group)
            closed = [listening(port) for port in ports]
            group.barrier()
            return closed

        assert run_threads(hosts_of(ports), program, mode=mode) == [[False] * n] * n


@pytest.mark.parametrize("mode", MODES)
def test_a_rank_that_has_ended_is_waited_for_no_longer(
    reserve_ports: Reserve, connect_rank: Connect, mode: str, tmp_path: Path
) -> None:
    (tmp_path / "rank-1.exit.json").write_text("{}")
    with (
        reserve_ports(2) as ports,
        pytest.raises(RuntimeError, match=r"rank 1 .*ended before it met the") as caught,
    ):
        connect_rank(0, hosts_of(ports), mode=mode, exit_folder=str(tmp_path))
    assert getattr(caught.value, "culprit", None) == 1


@pytest.mark.parametrize("mode", MODES)
def test_the_error_names_the_ranks_that_are_missing(
    reserve_ports: Reserve, connect_rank: Connect, mode: str
) -> None:
    with reserve_ports(2) as ports, pytest.raises(RuntimeError) as caught:
        connect_rank(0, hosts_of(ports), mode=mode, connect_timeout_s=0.5)

    text = str(caught.value)
    assert text.startswith("[ring] rank 0 of 2: waited 0.5 s for rank 1 (")
    assert f"127.0.0.1:{ports[1]}" in text
    assert text.count("rank 1 (") == 1
    assert "Connection refused" in text


@pytest.mark.parametrize("mode", MODES)
def test_a_rank_that_comes_late_is_waited_for(
    reserve_ports: Reserve, connect_rank: Connect, mode: str
) -> None:
    with reserve_ports(2) as ports:
        hosts = hosts_of(ports)

        def early() -> float:
            group = connect_rank(0, hosts, mode=mode)
            result = total(group)
            group.close()
            return result

        with late_rank(early) as result:
            time.sleep(0.7)
            group = connect_rank(1, hosts, mode=mode)
            total(group)
            group.close()
        assert result == [2.0]


MAGIC = b"JKHS\x01\x00"
NOISE = {
    "nothing": b"",
    "http": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "zeros": bytes(4096),
    "random": os.urandom(4096),
    "half a greeting": MAGIC + b"\x01",
    "another version": b"JKHS\xff\xff\x01\x00" + bytes(200),
    "out of turn": MAGIC + b"\x03\x00" + bytes(200),
    "an unknown kind": MAGIC + b"\x77\x00",
    "a hello of nobody": MAGIC + b"\x01\x00" + struct.pack("<iiIiI", -5, 2, 0, 1, 0) + bytes(400),
}


@pytest.mark.parametrize("mode", MODES)
def test_callers_that_are_no_ranks_stop_nobody(
    reserve_ports: Reserve, connect_rank: Connect, mode: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with reserve_ports(2) as ports, contextlib.ExitStack() as callers:
        hosts = hosts_of(ports)

        def listener() -> float:
            group = connect_rank(1, hosts, mode=mode, verbose=True)
            result = total(group)
            group.close()
            return result

        with late_rank(listener) as result:
            wait_until(lambda: listening(ports[1]))
            for noise in NOISE.values():
                caller = callers.enter_context(socket.create_connection(("127.0.0.1", ports[1])))
                with contextlib.suppress(ConnectionError):
                    caller.sendall(noise)
            group = connect_rank(0, hosts, mode=mode)
            assert total(group) == 2.0
            group.close()
        assert result == [2.0]
    said = capfd.readouterr().err
    assert "it does not speak the handshake (MLX's own ring?)" in said
    assert "it speaks another version of the handshake" in said


def test_a_flood_of_silent_callers_stops_nobody(reserve_ports: Reserve, connect_rank: Connect) -> None:
    with reserve_ports(2) as ports, contextlib.ExitStack() as callers:
        hosts = hosts_of(ports)

        def listener() -> float:
            group = connect_rank(1, hosts)
            result = total(group)
            group.close()
            return result

        with late_rank(listener) as result:
            wait_until(lambda: listening(ports[1]))
            for _ in range(600):
                callers.enter_context(socket.create_connection(("127.0.0.1", ports[1])))
            group = connect_rank(0, hosts)
            total(group)
            group.close()
        assert result == [2.0]


@pytest.mark.parametrize(
    ("theirs", "reason"),
    [
        ({"token": b"another token, just as long as ours"}, "the token differs"),
        ({"job": "another job"}, "it belongs to another job"),
        ({"epoch": 7}, "it is in another epoch of the job"),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_a_rank_of_another_job_is_turned_away_on_both_sides(
    reserve_ports: Reserve,
    run_threads: RunThreads,
    connect_rank: Connect,
    mode: str,
    theirs: Any,
    reason: str,
) -> None:
    with reserve_ports(2) as ports:
        hosts = hosts_of(ports)
        with (
            late_rank(lambda: connect_rank(1, hosts, mode=mode, connect_timeout_s=1.0)) as listener,
            pytest.raises(RuntimeError) as caller,
        ):
            connect_rank(0, hosts, mode=mode, connect_timeout_s=0.7, **theirs)
        assert reason in str(caller.value)
        assert "waited 1.0 s for rank 0" in str(listener[0])


def test_a_group_of_another_size_is_turned_away(reserve_ports: Reserve, connect_rank: Connect) -> None:
    with reserve_ports(3) as ports:
        hosts = hosts_of(ports)
        with (
            late_rank(lambda: connect_rank(1, hosts, connect_timeout_s=1.0)) as listener,
            pytest.raises(RuntimeError, match="its group has another number of ranks"),
        ):
            connect_rank(0, hosts[:2], connect_timeout_s=0.7)
        assert "its group has another number of ranks" in str(listener[0])


def hello(target: int, job: str, *, nonce: bytes = bytes(16), channel: int = 0) -> bytes:
    """Return what a caller of rank 0 of 2 says first."""
    identity = struct.pack("<IIQ32s64s", 1, 1, 1, bytes(32), b"host")
    body = struct.pack("<iiIiI", 0, 2, 0, target, channel) + hashlib.sha256(job.encode()).digest() + nonce
    return MAGIC + b"\x01\x00" + body + identity


def read_exactly(caller: socket.socket, n: int) -> bytes:
    data = b""
    while len(data) < n:
        more = caller.recv(n - len(data))
        if not more:
            return data
        data += more
    return data


CHALLENGE = 8 + 4 + 16 + 112 + 32


def test_a_recorded_handshake_is_of_no_use_a_second_time(
    reserve_ports: Reserve, connect_rank: Connect
) -> None:
    """The listener's nonce is fresh, so that yesterday's proof answers another question than today's."""
    token = bytes(range(32))
    with reserve_ports(2) as ports:
        hosts = hosts_of(ports)
        with late_rank(lambda: connect_rank(1, hosts, job="replay", connect_timeout_s=2.0)) as listener:
            wait_until(lambda: listening(ports[1]))
            first = hello(1, "replay")
            proofs = []
            for attempt in range(2):
                with socket.create_connection(("127.0.0.1", ports[1]), timeout=10) as caller:
                    caller.sendall(first)
                    challenge = read_exactly(caller, CHALLENGE)
                    said = first[8:] + challenge[8:-32]
                    expected = hmac.new(token, b"listener" + said, hashlib.sha256).digest()
                    assert challenge[-32:] == expected, "the listener does not prove that it knows the token"
                    proofs.append(hmac.new(token, b"caller" + said, hashlib.sha256).digest())
                    caller.sendall(MAGIC + b"\x03\x00" + proofs[0])
                    answer = read_exactly(caller, 8)
                    assert answer[6] == (4 if attempt == 0 else 5), "welcome first, then a refusal"
            assert proofs[0] != proofs[1]
        assert "waited 2.0 s for rank 0" in str(listener[0])


def test_a_listener_s_words_cannot_be_used_as_a_caller_s(
    reserve_ports: Reserve, connect_rank: Connect
) -> None:
    with reserve_ports(2) as ports:
        hosts = hosts_of(ports)
        with late_rank(lambda: connect_rank(1, hosts, job="reflect", connect_timeout_s=1.5)) as listener:
            wait_until(lambda: listening(ports[1]))
            with socket.create_connection(("127.0.0.1", ports[1]), timeout=10) as caller:
                caller.sendall(hello(1, "reflect"))
                challenge = read_exactly(caller, CHALLENGE)
                caller.sendall(MAGIC + b"\x03\x00" + challenge[-32:])
                assert read_exactly(caller, 8)[6] == 5
        assert "the token differs" in str(listener[0])


def test_a_foreign_listener_is_recognised_and_named(reserve_ports: Reserve, connect_rank: Connect) -> None:
    with reserve_ports(1) as ports, socket.create_server(("127.0.0.1", 0)) as foreign:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    caller, _ = foreign.accept()
                    with caller:
                        caller.sendall(b"220 mail.example ready\r\n")
                        caller.recv(1000)

        threading.Thread(target=answer, daemon=True).start()
        hosts = [[f"127.0.0.1:{ports[0]}"], [f"127.0.0.1:{foreign.getsockname()[1]}"]]
        with pytest.raises(RuntimeError, match="does not speak the handshake"):
            connect_rank(0, hosts, connect_timeout_s=0.5)


def test_a_port_that_another_program_has_is_an_error_at_once(connect_rank: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            RuntimeError, match=rf"rank 1 of 2: bind 127.0.0.1:{port}: Address already in use"
        ):
            connect_rank(1, [["127.0.0.1:1"], [f"127.0.0.1:{port}"]])


@pytest.mark.parametrize(
    ("rank", "hosts", "complaint"),
    [
        (2, [["127.0.0.1:1"], ["127.0.0.1:2"]], "rank 2 is not in the address list, which has 2 ranks"),
        (-1, [["127.0.0.1:1"], ["127.0.0.1:2"]], "rank -1 is not in the address list"),
        (0, [], "the address list is empty"),
        (0, [["127.0.0.1:1"], []], "rank 1 has no address"),
        (0, [["127.0.0.1:1"], ["127.0.0.1:2", "127.0.0.1:3"]], "rank 1 has 2 addresses and rank 0 has 1"),
        (0, [["127.0.0.1:1"], ["127.0.0.1"]], "not an address, got '127.0.0.1', expected 'host:port'"),
        (0, [["127.0.0.1:1"], ["::1:5000"]], "not an address, got '::1:5000'"),
    ],
)
def test_an_address_list_that_cannot_be_right_is_a_value_error(
    connect_rank: Connect, rank: int, hosts: list[list[str]], complaint: str
) -> None:
    with pytest.raises(ValueError, match="ring") as caught:
        connect_rank(rank, hosts, mode="hostfile")
    assert complaint in str(caught.value)


def test_a_name_that_cannot_be_resolved_is_an_error_at_once(
    reserve_ports: Reserve, connect_rank: Connect
) -> None:
    with (
        reserve_ports(1) as ports,
        pytest.raises(RuntimeError, match=r"'no-such-host\.invalid:5' cannot be resolved"),
    ):
        connect_rank(0, [[f"127.0.0.1:{ports[0]}"], ["no-such-host.invalid:5"]])


def test_no_descriptor_is_left_behind(reserve_ports: Reserve, run_threads: RunThreads) -> None:
    def meet() -> int:
        with reserve_ports(3) as ports:
            for mode in MODES:
                assert run_threads(hosts_of(ports), total, mode=mode) == [3.0] * 3
        return len(list(Path("/dev/fd").iterdir()))

    first = meet()
    assert meet() == first


def test_without_a_token_ranks_still_meet(reserve_ports: Reserve, run_threads: RunThreads) -> None:
    with reserve_ports(3) as ports:
        assert run_threads(hosts_of(ports), total, mode="hostfile", token=b"", job="") == [3.0] * 3


BOTH_RINGS = """
import json, sys
import mlx.core as mx
import numpy as np
from jobkit.native import _core

rank, hosts, order = int(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
options = dict(job="j", epoch=0, token=b"", connect_timeout_s=30.0, timeout_s=30.0, heartbeat_s=1.0)


def ours():
    return _core.connect(rank, hosts, mode="hostfile", verbose=False, **options)


def theirs():
    return mx.distributed.init(strict=True, backend="ring")


first = ours() if order == "ours first" else theirs()
second = theirs() if order == "ours first" else ours()
group = first if order == "ours first" else second
data = np.ones(10, np.float32)
group.all_reduce(0, data, data, 10, 11)
total = mx.distributed.all_sum(mx.ones(10))
mx.eval(total)
print(float(data[0]), total[0].item())
group.close()
"""


@pytest.mark.parametrize("order", ["ours first", "theirs first"])
def test_mlx_s_own_ring_and_ours_live_in_one_process(
    reserve_ports: Reserve, tmp_path: Path, order: str
) -> None:
    pytest.importorskip("mlx.core", reason="mlx is not installed")
    n = 3
    with reserve_ports(n) as ports:
        hosts = json.dumps(hosts_of(ports))
        hostfile = tmp_path / "hosts.json"
        hostfile.write_text(hosts)
        ranks = [
            subprocess.Popen(
                [sys.executable, "-c", BOTH_RINGS, str(rank), hosts, order],
                env=os.environ | {"MLX_RANK": str(rank), "MLX_HOSTFILE": str(hostfile)},
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(n)
        ]
        try:
            assert [rank.communicate(timeout=60)[0] for rank in ranks] == ["3.0 3.0\n"] * n
        finally:
            for rank in ranks:
                rank.kill()
                rank.wait()
