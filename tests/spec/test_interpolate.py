"""Variables are put in once; what they hold is never read again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobkit.spec.interpolate import Reference, Template, command, literal, template
from jobkit.spec.wrong import Wrong

ENVIRON = {
    "HOME": "/home/a",
    "EMPTY": "",
    "BLANK": "a b",
    "EVIL": "${HOME} $${ ${{ sweep.lr }}",
    "DOLLAR": "$",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain $HOME $ {}", "plain $HOME $ {}"),
        ("${HOME}/x", "/home/a/x"),
        ("${HOME}${HOME}", "/home/a/home/a"),
        ("${EMPTY}", ""),
        ("${EMPTY:-b}", "b"),
        ("${NONE:-b c}", "b c"),
        ("${NONE:-}", ""),
        ("${HOME:-b}", "/home/a"),
        ("$${HOME}", "${HOME}"),
        ("$${{ sweep.lr }}", "${{ sweep.lr }}"),
        ("${{ sweep.lr }}", "0.1"),
        ("${{sweep.lr}}x", "0.1x"),
        ("${EVIL}", ENVIRON["EVIL"]),
        ("${DOLLAR}{HOME}", "${HOME}"),
    ],
)
def test_a_template_is_filled(text: str, expected: str) -> None:
    assert template(text, ENVIRON).fill({"lr": "0.1"}) == expected


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("${NONE}", "NONE is not set"),
        ("${}", "not a form of interpolation"),
        ("${1}", "not a form of interpolation"),
        ("${A:=b}", "not a form of interpolation"),
        ("${A%x}", "not a form of interpolation"),
        ("${ HOME }", "not a form of interpolation"),
        ("${HOME", "not closed"),
        ("${NONE:-{}}", "not closed"),
        ("${{ lr }}", "not a value of the sweep"),
        ("${{ sweep.}}", "not a value of the sweep"),
        ("${{ sweep.a.b }}", "not a value of the sweep"),
        ("${{ sweep.lr }", "not closed"),
    ],
)
def test_what_cannot_be_put_in_says_why(text: str, wrong: str) -> None:
    with pytest.raises(Wrong) as caught:
        template(text, ENVIRON)

    assert caught.value.wrong == wrong


def test_a_shell_keeps_its_own_variables() -> None:
    text = "echo ${HOME%/} $${A} ${{ sweep.lr }} $${{ x"

    assert template(text, {}, shell=True).fill({"lr": "0.1"}) == "echo ${HOME%/} $${A} 0.1 ${{ x"


def test_what_is_put_in_stays_within_its_word() -> None:
    words = command("run ${BLANK} x${BLANK}y '${BLANK}' ${{ sweep.a }}", ENVIRON)

    assert [word.fill({"a": "1 2"}) for word in words] == ["run", "a b", "xa by", "a b", "1 2"]


def test_a_default_may_have_blanks() -> None:
    assert command("run ${NONE:-a b}", {}) == (literal("run"), literal("a b"))


def test_a_complaint_about_a_command_shows_it_as_written() -> None:
    with pytest.raises(Wrong) as caught:
        command("run ${HOME} > x", ENVIRON)

    assert repr(caught.value.got) == "'run ${HOME} > x'"


def test_variables_are_known() -> None:
    assert template("${HOME} ${NONE:-x} $${A} $B ${{ sweep.a }}", ENVIRON).variables == {"HOME", "NONE"}
    assert template("${HOME}", ENVIRON, shell=True).variables == set()
    assert command("a ${HOME}", ENVIRON)[1].variables == {"HOME"}


def test_references_are_known() -> None:
    found = template("a ${{ sweep.lr }} ${{ sweep.seed-2 }}", {})

    assert found.references() == {"lr", "seed-2"}
    assert found.parts == ("a ", Reference("lr"), " ", Reference("seed-2"))
    assert str(found) == "a ${{ sweep.lr }} ${{ sweep.seed-2 }}"


@given(st.text())
def test_escaped_text_comes_back(text: str) -> None:
    assert template(text.replace("${", "$${"), {}).fill({}) == text


@given(st.text(), st.text())
def test_a_value_is_put_in_exactly_as_it_is(before: str, value: str) -> None:
    before = before.replace("$", "")

    assert template(f"{before}${{A}}", {"A": value}).fill({}) == before + value
    assert template(f"{before}${{{{ sweep.a }}}}", {}).fill({"a": value}) == before + value


@given(st.text("${}AB:-. sweep\n", max_size=30))
def test_any_text_is_a_template_or_refused(text: str) -> None:
    try:
        found = template(text, {"A": "1"})
    except Wrong:
        return
    assert isinstance(found, Template)
