"""Describe specs to editors, in JSON Schema."""

from __future__ import annotations

from typing import Any

from jobkit.spec.model import JobSpec

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a spec.

    It is as strict as one can be about YAML that an editor has already read: `10` and `"10"` differ,
    but `010` and `8` do not.
    """
    found = JobSpec.model_json_schema(by_alias=True)
    for section in (found, *found["$defs"].values()):
        required = section.get("required", ())
        for name, key in section["properties"].items():
            key.pop("title", None)
            if "patternProperties" in key:
                key["additionalProperties"] = False
            if name not in required:
                section["properties"][name] = _or_null(key)
    return {"$schema": _DIALECT, **found}


def _or_null(key: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a key for which null means its default."""
    about = {name: value for name, value in key.items() if name in ("default", "description", "examples")}
    rest = {name: value for name, value in key.items() if name not in about}
    choices = rest["anyOf"] if set(rest) == {"anyOf"} else [rest]
    return {**about, "anyOf": [*choices, {"type": "null"}]}
