"""A command is split as a shell would split it, and what needs a shell is refused."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobkit.spec.words import split
from jobkit.spec.wrong import Wrong


@pytest.mark.parametrize(
    "text",
    [
        "python train.py --epochs 3",
        "  python   train.py\t-v ",
        "python -c 'raise SystemExit(7)'",
        "python -c \"print('a')\"",
        "bash -c 'a && b | c > d; echo $HOME'",
        'bash -c "echo $JOBKIT_RANK"',
        r"echo a\ b \$HOME \\ \'",
        "echo '' \"\" a''b",
        'echo "a\\"b" "a\\nb" "a\\\\b"',
        "python -c 'a\nb'",
        "echo 100% a=b --x=y http://h/?a=1&b=2 {} [a] *.txt ~ ^ !",
        "find . -exec ls {} \\;",
    ],
)
def test_words_are_those_of_shlex(text: str) -> None:
    assert split(text) == tuple(shlex.split(text))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8), min_size=1, max_size=5))
def test_quoted_words_come_back(words: list[str]) -> None:
    if words[0]:
        assert split(shlex.join(words)) == tuple(words)


@pytest.mark.parametrize(
    "text",
    [
        "a && b",
        "a || b",
        "a | b",
        "a > f",
        "a >f",
        "a 2>&1",
        "a < f",
        "a &",
        "a; b",
        "a ; b",
        "a &> f",
        "a << E",
    ],
)
def test_what_only_a_shell_understands_is_refused(text: str) -> None:
    with pytest.raises(Wrong, match="only a shell understands") as caught:
        split(text)

    assert "shell: true" in caught.value.expected


@pytest.mark.parametrize("text", ["echo $HOME", "echo a$B", "echo $(date)", "echo `date`"])
def test_a_variable_for_a_shell_is_refused_outside_quotes(text: str) -> None:
    with pytest.raises(Wrong, match="only a shell replaces"):
        split(text)


def test_a_refused_variable_is_answered_with_its_braces() -> None:
    with pytest.raises(Wrong) as caught:
        split("python train.py $DATA")

    assert caught.value.expected.startswith("${DATA}, `shell: true`")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("a 'b", "a ' that is not closed"),
        ('a "b', 'a " that is not closed'),
        ("a b\\", "a backslash at the end"),
        ("a\nb", "several lines"),
        ("A=1 b", "a variable where the program is expected"),
        ("", "no command"),
        ("   ", "no command"),
    ],
)
def test_what_cannot_be_split_says_why(text: str, wrong: str) -> None:
    with pytest.raises(Wrong) as caught:
        split(text)

    assert caught.value.wrong == wrong


@given(st.text(max_size=60))
def test_any_text_is_split_or_refused(text: str) -> None:
    try:
        words = split(text)
    except Wrong:
        return
    assert words == tuple(shlex.split(text))
