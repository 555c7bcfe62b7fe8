"""What a build of the bridge depends on."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest

from jobkit.errors import BackendError
from jobkit.native.mlx import recipe as subject


def test_the_key_names_the_versions_and_changes_with_the_source(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = subject.recipe()
    assert f"mlx-{here.mlx_version}-nanobind-{here.nanobind_version}-" in here.key
    for name in subject.SOURCE_NAMES:
        (tmp_path / name).write_bytes((subject.SOURCES / name).read_bytes())
    monkeypatch.setattr(subject, "SOURCES", tmp_path)
    assert subject.recipe().key == here.key
    (tmp_path / "capi.h").write_text("another")
    assert subject.recipe().key != here.key


def test_the_internals_of_the_installed_mlx_are_those_of_the_installed_nanobind() -> None:
    assert subject.mlx_internals(Path(mx.__file__)) in subject.NANOBIND_RELEASES


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (b"\0nanobind_system_libstdcpp_gxx_abi_1xxx_use_cxx11_abi_1_a1_v22\0", 22),
        (b"\0v19_system_libstdcpp_gxx_abi_1xxx_use_cxx11_abi_1\0", 19),
        (b"\0nanobind_system_libcpp_abi1_a1_v23_stable\0", 23),
        (b"nothing of that kind", None),
    ],
)
def test_the_internals_are_read_from_the_name_of_their_record(
    tmp_path: Path, text: bytes, version: int | None
) -> None:
    (tmp_path / "core.so").write_bytes(b"\x7fELF" + text + b"more")
    assert subject.mlx_internals(tmp_path / "core.so") == version


def test_another_nanobind_is_refused_with_the_command_that_installs_the_right_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subject, "mlx_internals", lambda _: 19)
    with pytest.raises(BackendError, match=r"not the one that mlx was built with") as caught:
        subject.recipe()
    assert "-m pip install 'nanobind>=2.12,<2.13'" in str(caught.value)


def test_a_missing_nanobind_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = subject.importlib.util.find_spec
    monkeypatch.setattr(
        subject.importlib.util, "find_spec", lambda name: None if name == "nanobind" else find(name)
    )
    with pytest.raises(BackendError, match="nanobind is not installed") as caught:
        subject.recipe()
    assert "-m pip install 'nanobind" in str(caught.value)
