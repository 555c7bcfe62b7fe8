"""The programs of docs/examples do what the documents say, on one rank and on several."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import pytest

EXAMPLES = Path(__file__).parent.parent.parent / "docs" / "examples"
TRAIN = str(EXAMPLES / "train_digits.py")
BUNDLED = ("-m", "jobkit.native")


def run(size: int, folder: Path, *words: str) -> list[str]:
    """Run a program on `size` ranks and return what each printed."""
    environs = [dict(os.environ)]
    if size > 1:
        file = folder / "ring.json"
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(size)]
        file.write_text(json.dumps([[f"127.0.0.1:{each.getsockname()[1]}"] for each in sockets]))
        for each in sockets:
            each.close()
        environs = [{**os.environ, "MLX_RANK": str(r), "MLX_HOSTFILE": str(file)} for r in range(size)]
    command = [sys.executable, *words]
    started = [
        subprocess.Popen(command, env={**environ, "OMP_NUM_THREADS": "1"}, stdout=-1, stderr=-1, text=True)
        for environ in environs
    ]
    try:
        ended = [process.communicate(timeout=90) for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * size, ended
    return [said for said, _ in ended]


@pytest.mark.parametrize("how", [(), BUNDLED], ids=["mlx", "bundled"])
@pytest.mark.parametrize("size", [1, 4])
def test_allsum_prints_an_array_of_the_number_of_ranks(
    tmp_path: Path, how: tuple[str, ...], size: int
) -> None:
    sum_of_ones = f"{size}, {size}, {size}, ..., {size}, {size}, {size}"
    expected = [f"{rank} array([{sum_of_ones}], dtype=float32)\n" for rank in range(size)]
    assert run(size, tmp_path, *how, str(EXAMPLES / "allsum.py")) == expected


@pytest.mark.parametrize("size", [1, 3])
def test_numpy_allsum_prints_the_number_of_ranks(tmp_path: Path, size: int) -> None:
    expected = [f"{rank} [{' '.join([f'{size}.'] * 10)}]\n" for rank in range(size)]
    assert run(size, tmp_path, str(EXAMPLES / "numpy_allsum.py")) == expected


def losses(said: str) -> list[float]:
    return [float(number) for number in re.findall(r"loss (\S+)", said)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a default training on one rank prints."""
    return run(1, tmp_path_factory.mktemp("alone"), *BUNDLED, TRAIN)[0]


def test_training_reaches_its_accuracy_on_one_rank(alone: str) -> None:
    assert alone.splitlines()[-1] == "accuracy 0.97"
    assert len(losses(alone)) == 12


def test_training_on_two_ranks_is_training_on_one(tmp_path: Path, alone: str) -> None:
    first, second = run(2, tmp_path, *BUNDLED, TRAIN)
    assert first.splitlines()[-1] == "accuracy 0.97"
    assert losses(first) == pytest.approx(losses(alone), rel=2e-3)
    assert second == ""


@pytest.mark.parametrize(("size", "how"), [(3, BUNDLED), (2, ())], ids=["three", "mlx"])
def test_a_share_that_is_not_equal_and_another_ring_change_nothing(
    tmp_path: Path, alone: str, size: int, how: tuple[str, ...]
) -> None:
    first, *_ = run(size, tmp_path, *how, TRAIN, "--epochs", "2")
    assert losses(first) == pytest.approx(losses(alone)[:2], rel=1e-3)


def test_training_takes_its_settings_from_the_command_line(tmp_path: Path) -> None:
    words = ("--epochs", "1", "--batch-size", "100", "--lr", "0.01", "--seed", "4")
    [first] = run(1, tmp_path, TRAIN, *words)
    assert first.startswith("training on 1437 images with 1 rank(s)\nepoch 1/1  loss ")
    assert run(1, tmp_path, TRAIN, *words) == [first]


@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["torch_ddp.py", "torch_fsdp.py"])
def test_pytorch_trains_on_several_ranks_as_on_one(name: str, size: int) -> None:
    command = [sys.executable, "-m", "jobkit", "launch", "-n", str(size), "--", sys.executable]
    done = subprocess.run([*command, str(EXAMPLES / name)], capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    alone = [11.919, 7.852, 5.210, 3.540, 2.347]
    assert losses(done.stdout) == pytest.approx(alone, abs=2e-3)


def told_to_end(folder: Path, file: Path, number: signal.Signals) -> int:
    """Train, send a signal when the second epoch has begun, and return the exit status."""
    command = [sys.executable, *BUNDLED, TRAIN, "--resume", "--checkpoint", str(file), "--epochs", "400"]
    with subprocess.Popen(command, stdout=-1, text=True, cwd=folder) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("epoch 1/"):
            assert process.poll() is None
        process.send_signal(number)
        return process.wait()


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_training_that_was_told_to_end_resumes_where_it_was(tmp_path: Path, number: signal.Signals) -> None:
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    assert told_to_end(tmp_path, parts, number) == 128 + number
    position = mx.load(str(parts), return_metadata=True)[1]
    epochs = str(int(position["epoch"]) + 2)
    words = (*BUNDLED, TRAIN, "--resume", "--epochs", epochs, "--checkpoint")
    [second] = run(1, tmp_path, *words, str(parts))
    [at_once] = run(1, tmp_path, *words, str(whole))
    assert f"going on with epoch {position['epoch']} after {position['step']} steps\n" in second
    assert second.splitlines()[2:] == at_once.splitlines()[int(position["epoch"]) :]
    assert not list(tmp_path.glob("*.new.*"))
    expected, got = (mx.load(str(path)) for path in (whole, parts))
    assert expected.keys() == got.keys()
    assert all(mx.array_equal(expected[name], got[name]).item() for name in expected)


def test_a_training_resumes_on_another_number_of_ranks(tmp_path: Path, alone: str) -> None:
    words = (*BUNDLED, TRAIN, "--resume", "--checkpoint", str(tmp_path / "c.safetensors"), "--epochs")
    run(1, tmp_path, *words, "6")
    first, *others = run(3, tmp_path, *words, "12")
    assert losses(first) == pytest.approx(losses(alone)[6:], rel=2e-3)
    assert first.splitlines()[-1] == alone.splitlines()[-1]
    assert others == ["", ""]
