"""mlx-lm's own training loop, whose step is compiled, runs on the engine unmodified."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

# Sequences of one length, so that the mean over ranks is the mean over the batch.
TRAIN = """
import sys
import mlx.core as mx, mlx.optimizers as optim, numpy as np
from mlx_lm.models import llama
from mlx_lm.tuner.trainer import TrainingArgs, TrainingCallback, train

class Losses(TrainingCallback):
    def on_train_loss_report(self, info):
        if mx.distributed.init().rank() == 0:
            print("loss", info["train_loss"])

mx.random.seed(0)
model = llama.Model(llama.ModelArgs(
    model_type="llama", hidden_size=32, num_hidden_layers=2, intermediate_size=64,
    num_attention_heads=4, num_key_value_heads=2, rms_norm_eps=1e-5, vocab_size=64,
))
tokens = np.cumsum(np.random.default_rng(0).integers(1, 4, (16, 24)), axis=1) % 64
data = [(row.tolist(), 0) for row in tokens]
np.random.seed(0)
train(
    model, optim.Adam(learning_rate=1e-2), data,
    args=TrainingArgs(batch_size=8, iters=6, steps_per_report=2, steps_per_save=1000, max_seq_length=32,
                      adapter_file=sys.argv[1], grad_accumulation_steps=int(sys.argv[2])),
    training_callback=Losses(),
)
"""


def losses(folder: Path, size: int, accumulated: int) -> list[float]:
    file = folder / "program.py"
    file.write_text(TRAIN)
    program = [
        sys.executable,
        "-m",
        "jobkit.native",
        str(file),
        str(folder / "a.safetensors"),
        str(accumulated),
    ]
    launch = [sys.executable, "-m", "jobkit", "launch", "-n", str(size), "--"]
    environ = {**os.environ, "PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [*launch, *program], env=environ, capture_output=True, text=True, timeout=170, check=False
    )
    assert done.returncode == 0, done.stderr
    return [float(number) for number in re.findall(r"^loss (\S+)$", done.stdout, re.M)]


@pytest.mark.parametrize("accumulated", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_language_model_trains_on_two_ranks_as_on_one(tmp_path: Path, accumulated: int) -> None:
    alone = losses(tmp_path, 1, accumulated)
    assert len(alone) == 3
    assert alone[-1] < alone[0]
    assert losses(tmp_path, 2, accumulated) == pytest.approx(alone, rel=1e-4)
