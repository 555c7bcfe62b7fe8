"""YAML is read with its lines and its spelling, and nothing in it can hang or crash the reader."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobkit.errors import SpecError
from jobkit.spec import document as documents
from jobkit.spec.complaints import told
from jobkit.spec.document import Place, Plain, dotted, is_null, located, read


@pytest.mark.parametrize(
    ("text", "yaml_type"),
    [
        ("a", "str"),
        ("3", "int"),
        ("010", "int"),
        ("1:30", "int"),
        ("0x1f", "int"),
        ("1_000", "int"),
        ("3.10", "float"),
        ("no", "bool"),
        ("on", "bool"),
        ("~", "null"),
        ("null", "null"),
        ("2024-01-31", "timestamp"),
        ("1e-3", "str"),
    ],
)
def test_a_plain_scalar_keeps_its_text_and_what_yaml_makes_of_it(text: str, yaml_type: str) -> None:
    value = read(f"a: {text}", "a.yaml").value["a"]

    assert (value, value.yaml_type) == (text, yaml_type)


@pytest.mark.parametrize("text", ["'no'", '"no"', "|-\n  no", ">-\n  no"])
def test_a_quoted_scalar_is_only_text(text: str) -> None:
    value = read(f"a: {text}", "a.yaml").value["a"]

    assert value == "no"
    assert not isinstance(value, Plain)


def test_every_value_has_its_line() -> None:
    document = read("run: a\nretries:\n  failed: 1\nsetup:\n- b\n- c\n", "a.yaml")

    assert [(dotted(path), place.line) for path, place in document.places.items()] == [
        ("", 1),
        ("run", 1),
        ("retries", 2),
        ("retries.failed", 3),
        ("setup", 4),
        ("setup.0", 5),
        ("setup.1", 6),
    ]


def test_a_path_can_be_printed_whatever_is_in_it() -> None:
    assert dotted(("a\x1b[31m", "b")) == "a\\x1b[31m.b"


def test_what_is_missing_is_placed_in_its_section() -> None:
    document = read("run: a\nsignal:\n  before: 1s\n", "a.yaml")

    assert str(document.place(("signal", "name"))) == "a.yaml:2"
    assert str(document.place(("name",))) == "a.yaml:1"


def test_a_place_and_a_path_make_the_start_of_a_complaint() -> None:
    assert located(Place(4, "a.yaml"), ("retries", "failed")) == "a.yaml:4: retries.failed"
    assert located(Place(4, "a.yaml"), ()) == "a.yaml:4"
    assert located(Place(0, "--set a.b"), ("a", "b")) == "--set a.b"
    assert located(Place(0, "--set a"), ("a", "b")) == "--set a: a.b"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a: 1\nb: [\n",
            "a.yaml:3: not YAML: expected the node content, but found '<stream end>' while parsing",
        ),
        ("a: b: c", "a.yaml:1: not YAML: mapping values are not allowed here"),
        ("a:\n\tb: 1", "a.yaml:2: a tab, expected spaces, as YAML wants them"),
        ("a: 1\n\tb: 1", "a.yaml:2: a tab, expected spaces, as YAML wants them"),
        ("a: 1\n---\nb: 2", "a.yaml:2: a second document, expected one spec a file, without another ---"),
        ("a: *b", "a.yaml:1: not YAML: found undefined alias 'b'"),
        ("a: \x07", "a.yaml:1: a control character, got '\\x07', expected YAML text"),
        ("a: 1\nb: \x00", "a.yaml:2: a binary file, got '\\x00', expected YAML text"),
        ("a: 'b", "a.yaml:1: not YAML: found unexpected end of stream while scanning a quoted scalar"),
        ("a: @b", "a.yaml:1: not YAML: found character '@' that cannot start any token"),
        ("[" * 1000, "a.yaml:1: not YAML: nested more than 20 deep"),
        ('a: "\\UFFFFFFFF"', "a.yaml:1: not YAML: a number or an escape out of range"),
        ("%YAML 9" + "9" * 5000 + ".1\n--- a", "a.yaml:1: not YAML: a number or an escape out of range"),
        ("a: &a [*a]", "a.yaml:1: aliases that multiply without end"),
        ("a: &a {b: *a}", "a.yaml:1: aliases that multiply without end"),
        ("a: &a {<<: *a}", "a.yaml:1: aliases that multiply without end"),
    ],
)
def test_what_is_not_one_yaml_document_is_refused_in_one_message(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=f"^{re.escape(message)}"):
        read(text, "a.yaml")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("run: echo a: b", "put the value in quotes if its text has ': ' in it"),
        ("env: {A: ${HOME}}", "put text with ${NAME} in quotes where it stands inside { } or [ ]"),
        ("run: [a, x${HOME}]", "put text with ${NAME} in quotes where it stands inside { } or [ ]"),
        ("run: @a", "put the value in quotes"),
    ],
)
def test_the_commonest_slips_get_a_hint(text: str, hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(text, "a.yaml")

    assert str(caught.value).endswith(f"hint: {hint}")


def test_a_billion_laughs_end_early() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]

    with pytest.raises(SpecError, match="aliases that multiply without end"):
        read("\n".join(lines), "a.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "a.yaml:3: a: given twice, first on line 1, expected one of the two"),
        ("e:\n  a: 1\n  a: 3", "a.yaml:3: e.a: given twice, first on line 2, expected one of the two"),
        ("? [a]\n: b", "a.yaml:1: not a key, expected text before the colon"),
        ("a: !!int 3", "a.yaml:1: a YAML tag, got '!!int', expected the value alone"),
        ("a: !mine 3", "a.yaml:1: a YAML tag, got '!mine', expected the value alone"),
        ("a: !!python/name:os.system x", "a.yaml:1: a YAML tag, got '!!python/name:os.system'"),
        ("a:\n  <<: 3", "a.yaml:2: a.<<: not a mapping to merge, expected an alias of a mapping"),
    ],
)
def test_what_yaml_allows_and_a_spec_does_not_is_a_complaint(text: str, message: str) -> None:
    assert told([], read(text, "a.yaml")).startswith(message)


def test_of_merged_mappings_the_nearest_key_wins() -> None:
    value = read("a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], x: 3}", "a.yaml").value["c"]

    assert value == {"x": "3", "y": "1", "z": "2"}


@pytest.mark.parametrize(
    ("value", "null"), [(None, True), (Plain("~", "null"), True), ("", False), ("null", False)]
)
def test_null_is_what_was_written_as_null(value: object, null: bool) -> None:
    assert is_null(value) is null


TEXT = st.one_of(
    st.text(max_size=200),
    st.text("ab01:-[]{}&*!|>'\"%@,?#\n\t \\<u.~", max_size=200),
    st.lists(
        st.sampled_from(
            [
                "a: ",
                "- ",
                "? ",
                "&a ",
                "*a ",
                "<<: ",
                "{",
                "}",
                "[",
                "]",
                ", ",
                "\n",
                "  ",
                "|\n",
                "!!int ",
                "'",
                "---\n",
            ]
        ),
        max_size=40,
    ).map("".join),
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(TEXT)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        document = read(text, "a.yaml")
    except SpecError as error:
        assert str(error).startswith("a.yaml")
    else:
        assert document.places[()].line >= 1


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20))
def test_quoted_text_comes_back(text: str) -> None:
    quoted = "'" + text.replace("'", "''") + "'"

    assert read(f"a: {quoted}", "a.yaml").value == {"a": text}


def test_a_large_but_sane_document_is_read() -> None:
    text = "sweep:\n" + "".join(f"- {{lr: {n}}}\n" for n in range(2000))

    assert len(read(text, "a.yaml").value["sweep"]) == 2000
    assert len(text) < documents.MAX_BYTES
