from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobkit.env.nodelist import LONGEST, counts, hosts
from jobkit.errors import PlacementError

FORMS = [
    ("a", ("a",)),
    ("gpu-a[08-10]", ("gpu-a08", "gpu-a09", "gpu-a10")),
    ("gpu-a[08,10]", ("gpu-a08", "gpu-a10")),
    ("n[1-3,5,09-10]", ("n1", "n2", "n3", "n5", "n09", "n10")),
    ("n[98-101]", ("n98", "n99", "n100", "n101")),
    ("n[098-101]", ("n098", "n099", "n100", "n101")),
    ("n[7]", ("n7",)),
    ("a,b[1-2],c", ("a", "b1", "b2", "c")),
    ("rack[1-2]n[3-4]", ("rack1n3", "rack1n4", "rack2n3", "rack2n4")),
    ("q-dy-c-[1-2]", ("q-dy-c-1", "q-dy-c-2")),
    ("n1.example.org,10.0.0.1", ("n1.example.org", "10.0.0.1")),
    ("a,a", ("a", "a")),
]
# Slurm 22.05's scontrol refuses text after the last bracket; later versions and sites have it.
LATER = [("a[1-2]-ib", ("a1-ib", "a2-ib")), ("a[1-2]-ib,b", ("a1-ib", "a2-ib", "b"))]
MALFORMED = [
    "", ",", "a,", ",a", "a,,b", "n[", "n]", "n[]", "n[1", "n1]", "n[[1]]", "n[1-]", "n[-1]", "n[2-1]",
    "n[a-b]", "n[1-2-3]", "n[1,]", "n[1 2]", "a b", "(null)", "n[٣]", f"n[0-{LONGEST}]",
    "n[0-99999999999999999999]", "n[0-999]m[0-999]o[0-999]", "n[000x511]",
    "n[" + ",".join(["0-262143"] * 20000) + "]",
    ",".join(["n[0-262143]"] * 20000),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [*FORMS, *LATER])
def test_every_form_is_expanded(text: str, expected: tuple[str, ...]) -> None:
    assert hosts(text, "LIST") == expected


@pytest.mark.parametrize("text", MALFORMED, ids=lambda text: text[:30])
def test_a_malformed_list_is_named(text: str) -> None:
    with pytest.raises(PlacementError, match="LIST: "):
        hosts(text, "LIST")


def test_an_error_does_not_repeat_a_list_of_any_length() -> None:
    with pytest.raises(PlacementError) as caught:
        hosts("n" * 100000 + "[", "LIST")
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(("text", "expected"), FORMS)
def test_slurm_says_the_same(text: str, expected: tuple[str, ...], tmp_path: Path) -> None:
    if shutil.which("scontrol") is None:
        pytest.skip("scontrol is not installed")
    # It expands lists by itself, but does not start without a configuration.
    config = tmp_path / "slurm.conf"
    config.write_text("ClusterName=none\nSlurmctldHost=localhost\nNodeName=localhost\n")
    said = subprocess.run(
        ["scontrol", "show", "hostnames", text],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "SLURM_CONF": str(config)},
    )
    assert tuple(said.stdout.split()) == expected, said.stderr


prefixes = st.text("abcz-.", min_size=1, max_size=4)
ranges = st.tuples(st.integers(0, 200), st.integers(0, 12), st.integers(0, 5))


@given(st.lists(st.tuples(prefixes, st.lists(ranges, max_size=3), st.text("xyz-", max_size=2)), min_size=1))
def test_a_list_that_is_written_is_read_back(
    parts: list[tuple[str, list[tuple[int, int, int]], str]],
) -> None:
    words, expected = [], []
    for before, wanted, after in parts:
        numbers = [f"{n:0{w}}" for low, more, w in wanted for n in range(low, low + more + 1)]
        written = [f"{low:0{w}}" + (f"-{low + more}" if more else "") for low, more, w in wanted]
        words.append(f"{before}[{','.join(written)}]{after}" if wanted else before)
        # The width of a range is that of its first number, as written.
        expected += [f"{before}{n}{after}" for n in numbers] if wanted else [before]
    assert hosts(",".join(words), "LIST") == tuple(expected)


@given(st.text("n[]-,0189 (x", max_size=12))
def test_any_text_is_expanded_or_refused(text: str) -> None:
    with contextlib.suppress(PlacementError):
        assert all(hosts(text, "LIST"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", (1,)), ("2(x3)", (2, 2, 2)), ("3,1", (3, 1)), ("2,1(x2)", (2, 1, 1)), ("16(x1),4", (16, 4))],
)
def test_counts_are_expanded(text: str, expected: tuple[int, ...]) -> None:
    assert counts(text, "COUNTS") == expected


@pytest.mark.parametrize(
    "text", ["", ",", "2,", "x", "2(x)", "2(x3", "2x3", "2(3)", "-1", "2(x-1)", "2 (x2)", "1(x999999999999)"]
)
def test_malformed_counts_are_named(text: str) -> None:
    with pytest.raises(PlacementError, match="COUNTS: "):
        counts(text, "COUNTS")


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(1, 9)), min_size=1))
def test_counts_that_are_written_are_read_back(runs: list[tuple[int, int]]) -> None:
    text = ",".join(f"{n}(x{times})" if times > 1 else str(n) for n, times in runs)
    assert counts(text, "COUNTS") == tuple(n for n, times in runs for _ in range(times))
