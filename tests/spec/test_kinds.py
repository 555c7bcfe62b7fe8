"""Each kind reads what its key means, and names every surprise of YAML 1.1."""

from __future__ import annotations

from typing import Any

import pytest

from jobkit.spec import kinds
from jobkit.spec.document import Plain, read
from jobkit.spec.kinds import Kind
from jobkit.spec.wrong import Wrong


def plain(text: str) -> Any:
    """Return a value as it comes from YAML."""
    return read(f"a: {text}", "a.yaml").value["a"]


COUNT = kinds.integer(1)


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (COUNT, "4", 4),
        (COUNT, "+4", 4),
        (kinds.integer(0), "0", 0),
        (kinds.BOOLEAN, "true", True),
        (kinds.BOOLEAN, "FALSE", False),
        (kinds.TEXT, "gpu", "gpu"),
        (kinds.TEXT, "42", "42"),
        (kinds.TEXT, "'010'", "010"),
        (kinds.TEXT, "1e-3", "1e-3"),
        (kinds.ARGUMENT, "''", ""),
        (kinds.LINE, "export A=${B}", "export A=${B}"),
        (kinds.VARIABLE, "no", "no"),
        (kinds.VARIABLE, "_A1", "_A1"),
        (kinds.DURATION, "10:00:00", 36000.0),
        (kinds.DURATION, "90s", 90.0),
        (kinds.MEMORY, "16G", 16 << 30),
        (kinds.SIGNAL, "USR1", "USR1"),
        (kinds.SIGNAL, "sigterm", "TERM"),
        (kinds.PORTS, "20000-20999", (20000, 20999)),
        (kinds.PORTS, "7-7", (7, 7)),
        (kinds.SUBNET, "10.0.0.0/8", "10.0.0.0/8"),
        (kinds.SUBNET, "fd00::/8", "fd00::/8"),
        (kinds.SUBNET, "192.168.1.7", "192.168.1.7/32"),
        (kinds.choice("a", "b"), "b", "b"),
        (kinds.choice_of_version(1), "1", 1),
        (kinds.PATH, "../hosts.json", "../hosts.json"),
        (kinds.OPTION, "mem-per-cpu", "mem-per-cpu"),
    ],
)
def test_a_value_is_read(kind: Kind, text: str, expected: object) -> None:
    assert kind.read(plain(text)) == expected


@pytest.mark.parametrize(
    ("kind", "text", "wrong"),
    [
        (COUNT, "two", "not an integer"),
        (COUNT, "'2'", "not an integer"),
        (COUNT, "2.0", "not an integer"),
        (COUNT, "true", "not an integer"),
        (COUNT, "[2]", "not an integer"),
        (COUNT, "0", "too small"),
        (COUNT, "-1", "too small"),
        (COUNT, "9" * 5000, "too large"),
        (COUNT, "010", "an octal number in YAML 1.1"),
        (COUNT, "0x10", "a hexadecimal number in YAML 1.1"),
        (COUNT, "0b10", "a binary number in YAML 1.1"),
        (COUNT, "1_000", "a number with _ in YAML 1.1"),
        (COUNT, "1:30", "a number in base 60 in YAML 1.1"),
        (kinds.BOOLEAN, "yes", "a boolean in YAML 1.1 only"),
        (kinds.BOOLEAN, "off", "a boolean in YAML 1.1 only"),
        (kinds.BOOLEAN, "'true'", "not a boolean"),
        (kinds.BOOLEAN, "1", "not a boolean"),
        (kinds.TEXT, "010", "an octal number in YAML 1.1"),
        (kinds.TEXT, "1:30", "a number in base 60 in YAML 1.1"),
        (kinds.TEXT, "3.10", "a number in YAML 1.1"),
        (kinds.TEXT, "on", "a boolean in YAML 1.1"),
        (kinds.TEXT, "2024-01-31", "a date in YAML 1.1"),
        (kinds.TEXT, "''", "empty"),
        (kinds.TEXT, '"a\\nb"', "a character that cannot be printed"),
        (kinds.TEXT, "${HOME}", "${…} is not replaced here"),
        (kinds.TEXT, "[a]", "not text"),
        (kinds.LINE, "''", "empty"),
        (kinds.ARGUMENT, '"\\0"', "text with a character that no program can be given"),
        (kinds.ARGUMENT, '"\\ud800"', "text with a character that no program can be given"),
        (kinds.VARIABLE, "1A", "not the name of a variable"),
        (kinds.VARIABLE, "A-B", "not the name of a variable"),
        (kinds.OPTION, "--mem", "not the name of an option"),
        (kinds.SIGNAL, "KILL", "no program can catch it"),
        (kinds.SIGNAL, "SIGFOO", "unknown signal"),
        (kinds.SIGNAL, "10", "unknown signal"),
        (kinds.SIGNAL, "[USR1]", "unknown signal"),
        (kinds.PORTS, "20000", "not a range of ports"),
        (kinds.PORTS, "2-1", "not a range of ports"),
        (kinds.PORTS, "0-1", "not a range of ports"),
        (kinds.PORTS, "1-70000", "not a range of ports"),
        (kinds.SUBNET, "10.0.0.1/8", "an address inside a network"),
        (kinds.SUBNET, "10.0.0.0/33", "not a network"),
        (kinds.SUBNET, "10", "not a network"),
        (kinds.DURATION, "[1h]", "no unit"),
        (kinds.MEMORY, "16", "no unit"),
        (kinds.choice("a", "b"), "c", "unknown name"),
        (kinds.choice("a", "b"), "[a]", "unknown name"),
        (kinds.choice_of_version(1), "2", "a version that this jobkit does not know"),
    ],
)
def test_what_cannot_be_read_says_why(kind: Kind, text: str, wrong: str) -> None:
    with pytest.raises(Wrong) as caught:
        kind.read(plain(text))

    assert caught.value.wrong == wrong
    assert caught.value.expected


def test_an_address_inside_a_network_is_answered_with_the_network() -> None:
    with pytest.raises(Wrong) as caught:
        kinds.SUBNET.read("10.1.2.3/8")

    assert caught.value.expected == "the network itself: 10.0.0.0/8"


@pytest.mark.parametrize(
    "text", ["3.10", "no", "010", "1e-3", "1:30", "0x1f", "2024-01-31", "1_000", "null", "'a b'"]
)
def test_written_text_stays_as_typed(text: str) -> None:
    assert kinds.written(plain(text)) == text.strip("'")


def test_values_from_python_are_read_too() -> None:
    assert COUNT.read(3) == 3
    assert kinds.BOOLEAN.read(True) is True
    assert kinds.written(True) == "true"
    assert kinds.written(0.5) == "0.5"
    with pytest.raises(Wrong):
        COUNT.read(True)


@pytest.mark.parametrize("value", [None, Plain("", "null"), Plain("~", "null"), [], {}])
def test_a_variable_must_have_a_value(value: object) -> None:
    with pytest.raises(Wrong):
        kinds.variable_text(value)
