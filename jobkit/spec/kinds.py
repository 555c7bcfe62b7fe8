"""Read one value of a spec the way its key asks for.

A kind is both halves of a type: `read`, which turns what was written into a value or raises Wrong, and
`schema`, what JSON Schema says about it. Values that Python code gives (int, bool, str) are read as well.
"""

from __future__ import annotations

import inspect
import ipaddress
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from jobkit.spec import units
from jobkit.spec.document import Plain
from jobkit.spec.interpolate import NAME
from jobkit.spec.wrong import Wrong

_DIGITS = 18
_MAX_PORT = 65535
OPTION_NAME = r"[A-Za-z0-9][A-Za-z0-9-]*"


@dataclass(frozen=True)
class Kind:
    """How to read one value.

    Attributes:
        expected: What messages and the reference say is expected.
        read: From what was written, and a ValidationInfo if it takes two, to the value; raises Wrong.
        schema: JSON Schema of what may be written.
    """

    expected: str
    read: Callable[..., Any]
    schema: dict[str, Any] = field(hash=False)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Tell pydantic to read the value with `read`."""
        if len(inspect.signature(self.read).parameters) == 2:
            return core_schema.with_info_plain_validator_function(self.read)
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Tell pydantic the JSON Schema."""
        return dict(self.schema)


def surprise(value: Plain) -> str:
    """Return what YAML 1.1 makes of a plain scalar that its writer may have meant as text."""
    if value.yaml_type != "int":
        return {"bool": "a boolean", "float": "a number", "timestamp": "a date", "null": "null"}.get(
            value.yaml_type, f"a {value.yaml_type}"
        )
    marks = {
        ":": "a number in base 60",
        "x": "a hexadecimal number",
        "b": "a binary number",
        "_": "a number with _",
    }
    return next((name for mark, name in marks.items() if mark in value), "an octal number")


def _is_decimal(value: str) -> bool:
    return re.fullmatch(r"[-+]?(0|[1-9][0-9]*)", value) is not None


def written(value: Any) -> str:
    """Return a scalar's text as it was written, whatever YAML takes it for.

    Raises:
        Wrong: Not a scalar, or text that no program could be given.
    """
    if isinstance(value, bool | int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if not isinstance(value, str):
        raise Wrong("not text", got=value, expected="text")
    if "\0" in value or not _is_unicode(value):
        raise Wrong("text with a character that no program can be given", got=value, expected="text")
    return str(value)


def _is_unicode(value: str) -> bool:
    """Return whether text can be encoded: "\\ud800" of a YAML escape cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def plain_text(value: Any) -> str:
    """Return text; what YAML 1.1 takes for something else must be in quotes.

    Raises:
        Wrong: Not text.
    """
    if isinstance(value, Plain) and value.yaml_type not in ("str", "merge", "value"):
        if value.yaml_type != "int" or not _is_decimal(value):
            raise Wrong(f"{surprise(value)} in YAML 1.1", got=value, expected=f'text, in quotes: "{value}"')
    elif not isinstance(value, str):
        raise Wrong("not text", got=value, expected="text")
    return written(value)


def one_line(value: Any) -> str:
    """Return text that is not blank and has no control characters.

    Raises:
        Wrong: Anything else.
    """
    text = plain_text(value)
    if not text.strip():
        raise Wrong("empty", got=text, expected="text")
    if not text.isprintable():
        raise Wrong("a character that cannot be printed", got=text, expected="text in one line")
    return text


def setting(value: Any) -> str:
    """Return text in one line, in which nothing is replaced.

    Raises:
        Wrong: Not such text, or it asks for a replacement.
    """
    text = one_line(value)
    if "${" in text:
        raise Wrong(
            "${…} is not replaced here", got=text, expected="text; run, env, workdir and run_dir can have it"
        )
    return text


def matching(pattern: str, value: Any, wrong: str, expected: str) -> str:
    """Return text that a pattern describes in full.

    Raises:
        Wrong: Anything else, in the words given.
    """
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise Wrong(wrong, got=value, expected=expected)
    return str(value)


def _line(value: Any) -> str:
    text = plain_text(value)
    if not text.strip():
        raise Wrong("empty", got=text, expected="a line for bash")
    return text


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, Plain) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if isinstance(value, Plain) and value.yaml_type == "bool":
        raise Wrong("a boolean in YAML 1.1 only", got=value, expected="true or false")
    raise Wrong("not a boolean", got=value, expected="true or false")


def _to_int(value: Any, expected: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, Plain) and value.yaml_type == "int":
        if not _is_decimal(value):
            raise Wrong(
                f"{surprise(value)} in YAML 1.1", got=value, expected=f"{expected}, in decimal digits"
            )
        return int(value[:_DIGITS])
    raise Wrong("not an integer", got=value, expected=expected)


def integer(minimum: int, maximum: int = 1_000_000) -> Kind:
    """Return the kind of an integer within limits."""
    expected = f"an integer >= {minimum}"

    def read(value: Any) -> int:
        number = _to_int(value, expected)
        if number < minimum:
            raise Wrong("too small", got=value, expected=expected)
        if number > maximum:
            raise Wrong("too large", got=value, expected=f"an integer from {minimum} to {maximum}")
        return number

    return Kind(expected, read, {"type": "integer", "minimum": minimum, "maximum": maximum})


def choice(*names: str) -> Kind:
    """Return the kind of one name out of several."""
    expected = f"one of {', '.join(names)}"

    def read(value: Any) -> str:
        text = str(value) if isinstance(value, str) else value
        if text not in names:
            raise Wrong("unknown name", got=value, expected=expected)
        return str(text)

    return Kind(expected, read, {"enum": list(names)})


def choice_of_version(version: int) -> Kind:
    """Return the kind of the spec's own version."""

    def read(value: Any) -> int:
        if _to_int(value, str(version)) != version:
            raise Wrong("a version that this jobkit does not know", got=value, expected=str(version))
        return version

    return Kind(str(version), read, {"const": version})


def _variable_name(value: Any) -> str:
    return matching(NAME, value, "not the name of a variable", "letters, digits and _, first a letter or _")


def _option_name(value: Any) -> str:
    return matching(
        OPTION_NAME, value, "not the name of an option", "a name without the dashes in front: mem-per-cpu"
    )


def variable_text(value: Any) -> str:
    """Return the value of a variable as it was written.

    Raises:
        Wrong: null, or not a scalar.
    """
    if value is None or (isinstance(value, Plain) and value.yaml_type == "null"):
        raise Wrong("no value", got=value, expected='text; "" for an empty one')
    return written(value)


def _duration(value: Any) -> float:
    if not isinstance(value, str):
        raise Wrong("no unit", got=value, expected=units.DURATION)
    return units.seconds(value)


def _memory(value: Any) -> int:
    if not isinstance(value, str):
        raise Wrong("no unit", got=value, expected=units.MEMORY)
    return units.memory_bytes(value)


def _signal_name(value: Any) -> str:
    text = value.upper().removeprefix("SIG") if isinstance(value, str) else ""
    names = sorted(name[3:] for name in signal.Signals.__members__ if name.isalnum())
    if text in ("KILL", "STOP"):
        raise Wrong("no program can catch it", got=value, expected="a signal such as USR1, TERM or INT")
    if text not in names:
        raise Wrong("unknown signal", got=value, expected=f"one of {', '.join(names)}")
    return text


def _ports(value: Any) -> tuple[int, int]:
    expected = "two ports: 20000-20999"
    match = re.fullmatch(r"(\d{1,5})-(\d{1,5})", value, re.ASCII) if isinstance(value, str) else None
    if match is None:
        raise Wrong("not a range of ports", got=value, expected=expected)
    first, last = int(match[1]), int(match[2])
    if not 1 <= first <= last <= _MAX_PORT:
        raise Wrong("not a range of ports", got=value, expected=f"{expected}, rising, from 1 to {_MAX_PORT}")
    return first, last


def _subnet(value: Any) -> str:
    expected = "a network: 10.0.0.0/8 or fd00::/8"
    text = value if isinstance(value, str) else ""
    try:
        return str(ipaddress.ip_network(text.strip()))
    except ValueError:
        pass
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise Wrong("not a network", got=value, expected=expected) from None
    raise Wrong("an address inside a network", got=value, expected=f"the network itself: {network}")


BOOLEAN = Kind("true or false", _boolean, {"type": "boolean"})
TEXT = Kind("text", setting, {"type": ["string", "integer"]})
PATH = Kind("a path", setting, {"type": "string"})
LINE = Kind("a line for bash", _line, {"type": "string"})
ARGUMENT = Kind("text", plain_text, {"type": ["string", "integer"]})
VARIABLE = Kind("the name of a variable", _variable_name, {"type": "string", "pattern": f"^{NAME}$"})
OPTION = Kind("the name of an option", _option_name, {"type": "string", "pattern": f"^{OPTION_NAME}$"})
DURATION = Kind(units.DURATION, _duration, {"type": "string", "pattern": units.DURATION_PATTERN})
MEMORY = Kind(units.MEMORY, _memory, {"type": "string", "pattern": units.MEMORY_PATTERN})
SIGNAL = Kind("a signal: USR1", _signal_name, {"type": "string"})
PORTS = Kind("two ports: 20000-20999", _ports, {"type": "string", "pattern": r"^\d+-\d+$"})
SUBNET = Kind("a network: 10.0.0.0/8", _subnet, {"type": "string"})
