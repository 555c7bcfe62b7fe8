from __future__ import annotations

import argparse

import pytest

from jobkit.cli import dashes


@pytest.mark.parametrize(
    ("words", "specs", "args"),
    [
        (["a", "b"], ["a", "b"], ()),
        (["a", "--"], ["a"], ()),
        (["a", "--", "--b", "c"], ["a"], ("--b", "c")),
        (["a", "-n", "2", "--", "--", "-n", "3"], ["a"], ("--", "-n", "3")),
    ],
)
def test_what_follows_the_dashes_is_kept_apart(
    words: list[str], specs: list[str], args: tuple[str, ...]
) -> None:
    root = argparse.ArgumentParser()
    parser = root.add_subparsers().add_parser("submit")
    parser.add_argument("specs", nargs="+")
    parser.add_argument("-n", type=int)
    dashes.keep_apart(parser)
    parsed = root.parse_args(["submit", *words])
    assert (parsed.specs, parsed.args) == (specs, args)
    assert parsed.n == (2 if "-n" in words else None)
