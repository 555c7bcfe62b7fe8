from __future__ import annotations

import argparse

import pytest

from jobkit.bench.choices import choices
from jobkit.cli import bench
from jobkit.errors import SpecError


def chosen(*words: str):  # type: ignore[no-untyped-def]
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return choices(parser.parse_args(words))


def test_the_defaults_are_those_of_the_page() -> None:
    found = chosen()

    assert (found.ops, found.dtypes, found.forms, found.ranks) == (("all_sum",), ("float32",), ("out",), (2,))
    assert (found.sizes[0], found.sizes[-1], len(found.sizes)) == (8, 256 << 20, 26)
    assert found.against == ()


def test_lists_are_read() -> None:
    found = chosen(
        "all_sum,send",
        "-n",
        "2,4",
        "--dtype",
        "int8,bfloat16",
        "--against",
        "mlx,mpi",
        "--mpi-python",
        "/bin/sh,/bin/cat",
    )

    assert (found.ops, found.ranks, found.dtypes) == (("all_sum", "send"), (2, 4), ("int8", "bfloat16"))
    assert (found.against, found.mpi_pythons) == (("mlx", "mpi"), ("/bin/sh", "/bin/cat"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("reduce",), "OP: unknown name, got 'reduce', expected one of all_sum"),
        (("--dtype", "f32"), "--dtype: unknown name, got 'f32'"),
        (("--dtype", ""), "--dtype: empty, got '', expected one of"),
        (("--form", ","), "--form: empty, got ',', expected one of out"),
        (("--idle", "-1"), "--idle: not a time, got -1.0, expected seconds, 0 or more"),
        (("--idle", "nan"), "--idle: not a time"),
        (("--mpi-python", "/no/such"), "--mpi-python: no such program, got '/no/such'"),
        (("--form", "new"), "--form: unknown name"),
        (("--transport", "ib"), "--transport: unknown name"),
        (("--congestion", "vegas"), "--congestion: unknown name"),
        (("-n", "1"), "-n: not a number of ranks, got '1'"),
        (("-n", "2,x"), "-n: not a number of ranks"),
        (("--rounds", "0"), "--rounds: not a number above 0"),
        (("--seconds", "nan"), "--seconds: not a number above 0"),
        (("--deadline", "-1"), "--deadline: not a number above 0"),
        (("--namespaces",), "no shared memory"),
    ],
)
def test_what_cannot_be_used_is_a_complaint(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(SpecError, match=told):
        chosen(*words)
