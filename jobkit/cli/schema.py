"""Print the JSON Schema of a spec.

An editor checks and completes specs with it: `jobkit schema > jobkit.schema.json`, then
`# yaml-language-server: $schema=jobkit.schema.json` in the first line of a spec.
"""

from __future__ import annotations

import argparse
import json

HELP = "print the JSON Schema of a spec"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no flags: `jobkit schema` has none."""


def run(_args: argparse.Namespace) -> int:
    """Print the schema."""
    from jobkit.spec import schema

    print(json.dumps(schema(), indent=2))
    return 0
