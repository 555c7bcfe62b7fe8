"""The engine's hashes (src/hash.cc, src/crc32c.cc), compiled by themselves, against Python's."""

from __future__ import annotations

import ctypes
import hashlib
import hmac
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

WRAPPER = """
#include <cstring>
#include "crc32c.h"
#include "hash.h"
extern "C" {
void sha256(const void* data, size_t n, void* out) { std::memcpy(out, jobkit::sha256(data, n).data(), 32); }
void hmac_sha256(const void* key, size_t n_key, const void* data, size_t n, void* out) {
  std::memcpy(out, jobkit::hmac_sha256(key, n_key, data, n).data(), 32);
}
int equal(const void* a, const void* b, size_t n) { return jobkit::equal_in_constant_time(a, b, n); }
void random_bytes(void* out, size_t n) { jobkit::random_bytes(out, n); }
uint32_t crc32c(const void* data, size_t n, uint32_t seed) { return jobkit::crc32c(data, n, seed); }
uint32_t crc32c_by_table(const void* data, size_t n, uint32_t seed) {
  return jobkit::crc32c_by_table(data, n, seed);
}
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler on PATH, tried $CXX, c++, g++")
    folder = tmp_path_factory.mktemp("hash")
    source = Path(__file__).resolve().parents[3] / "jobkit/native/src"
    (folder / "wrapper.cc").write_text(WRAPPER)
    files = [str(folder / "wrapper.cc"), str(source / "hash.cc"), str(source / "crc32c.cc")]
    flags = ["-std=c++20", "-O2", "-shared", "-fPIC", f"-I{source}"]
    subprocess.run([compiler, *flags, *files, "-o", str(folder / "hash.so")], check=True)
    loaded = ctypes.CDLL(str(folder / "hash.so"))
    loaded.crc32c.restype = loaded.crc32c_by_table.restype = ctypes.c_uint32
    return loaded


@pytest.fixture(scope="module")
def digest(library: ctypes.CDLL) -> Callable[..., bytes]:
    """Call a function of the library that leaves 32 bytes: `digest("sha256", data, ...)`."""

    def call(name: str, *data: bytes) -> bytes:
        out = ctypes.create_string_buffer(32)
        arguments = [part for each in data for part in (each, ctypes.c_size_t(len(each)))]
        getattr(library, name)(*arguments, out)
        return out.raw

    return call


@given(data=st.binary(max_size=300))
def test_sha256_is_pythons(digest: Callable[..., bytes], data: bytes) -> None:
    assert digest("sha256", data) == hashlib.sha256(data).digest()


@pytest.mark.parametrize("n", [55, 56, 63, 64, 65, 119, 120, 128, 100_000])
def test_sha256_pads_right_at_every_edge_of_a_block(digest: Callable[..., bytes], n: int) -> None:
    assert digest("sha256", b"x" * n) == hashlib.sha256(b"x" * n).digest()


@given(key=st.binary(max_size=100), data=st.binary(max_size=100))
def test_hmac_is_pythons_with_keys_of_any_length(
    digest: Callable[..., bytes], key: bytes, data: bytes
) -> None:
    assert digest("hmac_sha256", key, data) == hmac.new(key, data, "sha256").digest()


@given(data=st.binary(min_size=1, max_size=40), bit=st.integers(0, 7))
def test_equal_bytes_are_equal_but_for_one_bit(library: ctypes.CDLL, data: bytes, bit: int) -> None:
    n = ctypes.c_size_t(len(data))
    changed = bytes([*data[:-1], data[-1] ^ (1 << bit)])
    assert library.equal(data, bytes(data), n) == 1
    assert library.equal(data, changed, n) == 0


def test_random_bytes_differ(library: ctypes.CDLL) -> None:
    drawn = []
    for _ in range(4):
        out = ctypes.create_string_buffer(1000)
        library.random_bytes(out, ctypes.c_size_t(1000))
        drawn.append(out.raw)
    assert len(set(drawn)) == 4
    assert all(len(set(each)) > 200 for each in drawn)


def test_crc32c_has_the_value_of_the_standards(library: ctypes.CDLL) -> None:
    # RFC 3720, B.4; the last is the check value of the catalogue of parametrised CRC algorithms.
    cases = {
        bytes(32): 0x8A9136AA,
        b"\xff" * 32: 0x62A8AB43,
        bytes(range(32)): 0x46DD794E,
        b"123456789": 0xE3069283,
    }
    for data, expected in cases.items():
        for function in (library.crc32c, library.crc32c_by_table):
            assert function(data, ctypes.c_size_t(len(data)), 0) == expected


@given(data=st.binary(max_size=200), cut=st.integers(0, 200))
def test_crc32c_goes_on_from_where_it_stopped(library: ctypes.CDLL, data: bytes, cut: int) -> None:
    first, second = data[:cut], data[cut:]
    for function in (library.crc32c, library.crc32c_by_table):
        before = function(first, ctypes.c_size_t(len(first)), 0)
        whole = library.crc32c_by_table(data, ctypes.c_size_t(len(data)), 0)
        assert function(second, ctypes.c_size_t(len(second)), before) == whole
