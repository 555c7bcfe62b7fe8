"""The JSON Schema describes every key and accepts what the spec accepts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from jobkit.spec.json_schema import schema


def sections() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each section of the schema with its name."""
    found = schema()
    yield "", found
    yield from found["$defs"].items()


def reference(key: dict[str, Any]) -> str | None:
    """Return the name of the section that a key is, or None."""
    target = key.get("anyOf", [{}])[0].get("$ref")
    return target and str(target).split("/")[-1]


def test_every_key_is_described() -> None:
    found = schema()
    for name, section in sections():
        for key, value in section["properties"].items():
            described = found["$defs"][reference(value)] if reference(value) else value
            assert described["description"], f"{name}.{key}"


def test_no_other_key_is_allowed() -> None:
    assert all(section["additionalProperties"] is False for _, section in sections())


def test_only_run_is_required_and_all_else_may_be_null() -> None:
    found = schema()

    assert found["required"] == ["run"]
    for _, section in sections():
        for key, value in section["properties"].items():
            if key not in section.get("required", ()):
                assert {"type": "null"} in value["anyOf"], key


def test_keys_have_the_names_of_the_spec() -> None:
    properties = schema()["properties"]

    assert {"memory", "time", "run", "ssh"} <= set(properties)
    assert not {"memory_bytes", "time_s"} & set(properties)


def test_names_are_described_by_a_pattern() -> None:
    env = schema()["properties"]["env"]["anyOf"][0]

    assert env["additionalProperties"] is False
    assert list(env["patternProperties"]) == ["^[A-Za-z_][A-Za-z0-9_]*$"]


def test_choices_are_listed() -> None:
    assert schema()["properties"]["executor"]["anyOf"][0] == {"enum": ["local", "slurm", "ssh"]}


def test_it_is_json() -> None:
    found = schema()

    assert json.loads(json.dumps(found)) == found
    assert found["$schema"].startswith("https://json-schema.org/")
