"""Plans as JSON, one key a line, so that a difference between two is easy to see."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from jobkit.plan import Plan, Retries, SignalSpec, SlurmOptions, SshOptions, Task


def dumps(plan: Plan) -> str:
    """Return the text of plan.json."""
    lines = [f"  {text(key)}: {_value(value)}" for key, value in asdict(plan).items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _value(value: Any) -> str:
    nested = isinstance(value, tuple) and value and isinstance(value[0], dict)
    if not nested:
        return text(value)
    return "[\n    " + ",\n    ".join(text(item) for item in value) + "\n  ]"


def text(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON: letters as they are, but for bytes of the environment that are no UTF-8."""
    readable = json.dumps(value, indent=indent, ensure_ascii=False)
    try:
        readable.encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return readable


def loads(data: str) -> Plan:
    """Return the plan that such a text holds."""
    raw = {key: _frozen(value) for key, value in json.loads(data).items()}
    raw["tasks"] = tuple(Task(**{k: _frozen(v) for k, v in task.items()}) for task in raw["tasks"])
    raw["retries"] = Retries(**raw["retries"])
    raw["signal"] = None if raw["signal"] is None else SignalSpec(**raw["signal"])
    raw["slurm"] = SlurmOptions(**{k: _frozen(v) for k, v in raw["slurm"].items()})
    raw["ssh"] = SshOptions(**{k: _frozen(v) for k, v in raw.get("ssh", {}).items()})
    return Plan(**raw)


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
