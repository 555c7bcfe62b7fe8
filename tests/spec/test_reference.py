"""docs/spec.md shows the keys as they are, and all of its examples work."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from jobkit.spec import parse
from jobkit.spec.model import JobSpec
from jobkit.spec.reference import filled, table

ENVIRON = {"HOME": "/home/ada", "USER": "ada", "DATA": "/data", "HF_HOME": "/hf", "WANDB_API_KEY": "k"}


def test_the_page_has_the_table_of_the_model(repository: Path) -> None:
    page = (repository / "docs/spec.md").read_text()

    assert filled(page) == page, "stale: run `python -m jobkit.spec.reference docs/spec.md`"


def test_the_module_writes_the_table_into_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "spec.md"
    page.write_text("before\n<!-- keys -->\nold\n<!-- end of keys -->\nafter\n")
    monkeypatch.setattr("sys.argv", ["reference", str(page)])
    monkeypatch.delitem(__import__("sys").modules, "jobkit.spec.reference")

    runpy.run_module("jobkit.spec.reference", run_name="__main__")

    assert page.read_text() == f"before\n<!-- keys -->\n{table()}<!-- end of keys -->\nafter\n"


def test_every_key_has_a_row() -> None:
    rows = [line.split("|")[1].strip(" `") for line in table().splitlines()[2:]]

    assert {field.alias or name for name, field in JobSpec.model_fields.items()} <= set(rows)
    assert "signal.before" in rows
    assert len(rows) == len(set(rows))


@pytest.mark.parametrize("row", [line for line in table().splitlines()[2:] if "| a section |" not in line])
def test_the_example_of_a_row_is_read(row: str) -> None:
    key, _, default, example, _ = (cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1])
    needed = ["signal.name=USR1"] if key.startswith("`signal") else []
    for value in {example.strip("`"), default.strip("`")} - {"required", "unset", "none", ""}:
        shell = [] if "shell" in key else ["shell=false"]
        parse("run: a\n", "a.yaml", ENVIRON, overrides=[*needed, *shell, f"{key.strip('`')}={value}"])


def blocks(repository: Path) -> list[str]:
    """Return each YAML block of the page."""
    return re.findall(r"```yaml\n(.*?)```", (repository / "docs/spec.md").read_text(), re.DOTALL)


def test_every_example_of_the_page_is_a_spec(repository: Path) -> None:
    assert blocks(repository)
    for block in blocks(repository):
        text = block if re.search(r"^run:", block, re.MULTILINE) else f"run: a\n{block}"
        parse(text, "docs/spec.md", ENVIRON)
