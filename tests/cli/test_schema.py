"""`jobkit schema` prints JSON Schema and nothing else."""

from __future__ import annotations

import json

import pytest

from jobkit.cli import main
from jobkit.spec import schema


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0

    output = capsys.readouterr()
    assert json.loads(output.out) == schema()
    assert output.err == ""
