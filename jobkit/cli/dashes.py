"""What follows `--` on a command line, kept apart from the words before it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any


def keep_apart(parser: argparse.ArgumentParser) -> None:
    """Make a parser put the words after the first `--` into `args.args`.

    argparse by itself takes them for more positionals, so that `submit a.yaml -- --epochs 3` would look for
    a spec named `--epochs`.
    """
    parse = parser.parse_known_args

    def parse_known_args(
        args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        words = list(args or ())
        end = words.index("--") if "--" in words else len(words)
        parsed, unknown = parse(words[:end], namespace)
        parsed.args = tuple(words[end + 1 :])
        return parsed, unknown

    # An instance is changed and no subclass made: a parser of a verb is made by whoever lists the verbs.
    parser.parse_known_args = parse_known_args  # type: ignore[method-assign,assignment]
