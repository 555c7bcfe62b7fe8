from __future__ import annotations

import sys
from pathlib import Path

import pytest

from jobkit.env.identity import mlx_version, node_identity


def test_a_node_is_the_same_at_every_look() -> None:
    assert node_identity() == node_identity()
    assert ":" in node_identity()


@pytest.mark.parametrize(
    ("installed", "found"),
    [
        ([], ("", False)),
        (["mlx-0.32.4.dist-info", "mlx_cpu-0.32.4.dist-info"], ("0.32.4", False)),
        (["mlx_cuda_12-0.32.4.dist-info", "mlx-0.32.4.dist-info"], ("0.32.4", True)),
        (["mlx_lm-0.20.dist-info", "mlx"], ("", False)),
    ],
)
def test_mlx_is_found_beside_its_package(
    installed: list[str], found: tuple[str, bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in installed:
        (tmp_path / name).mkdir()
    monkeypatch.setattr(sys, "path", ["/no/such/folder", str(tmp_path)])
    assert mlx_version() == found


def test_it_says_what_the_package_says() -> None:
    core = pytest.importorskip("mlx.core")
    assert mlx_version()[0] == core.__version__
