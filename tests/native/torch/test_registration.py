"""How `torch.distributed` learns of the backend."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import torch.distributed as distributed

from jobkit.native.torch import registration


def test_importing_the_package_registers_the_backend_once() -> None:
    registration.register()
    registration.register()
    assert distributed.is_backend_available("jobkit")
    assert distributed.Backend.backend_list.count("jobkit") == 1


def test_an_installed_jobkit_is_known_to_pytorch_without_an_import(tmp_path: Path, repository: Path) -> None:
    project = (repository / "pyproject.toml").read_text()
    entry = re.search(r'^\[project.entry-points."torch.backends"\]\n(.*)\n', project, re.M)
    assert entry
    folder = tmp_path / "installed-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: installed\nVersion: 1\n")
    (folder / "entry_points.txt").write_text(
        f"[torch.backends]\n{entry[1].replace('jobkit = ', 'installed = ').replace(chr(34), '')}\n"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(repository)])}
    for first in ("torch", "jobkit.native.torch", "jobkit.native"):
        program = f"import {first}, torch; assert torch.distributed.is_backend_available('jobkit')"
        subprocess.run([sys.executable, "-c", program], env=environ, check=True, timeout=120)


def test_a_pytorch_without_distributed_is_left_alone(tmp_path: Path) -> None:
    program = """
import torch.distributed as distributed
distributed.is_available = lambda: False
from jobkit.native.torch import registration
registration.register()
assert "jobkit" not in distributed.Backend.backend_list
"""
    environ = {**os.environ, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    subprocess.run([sys.executable, "-c", program], env=environ, check=True, timeout=120)
