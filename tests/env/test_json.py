from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobkit.env.json_ import dumps, loads

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(deadline=None, max_examples=50)
@given(values)
def test_the_standard_library_reads_what_is_written(value: object) -> None:
    assert json.loads(dumps(value)) == value


@settings(deadline=None, max_examples=50)
@given(values)
def test_what_the_standard_library_writes_is_read(value: object) -> None:
    assert loads(json.dumps(value, indent=1)) == value


@pytest.mark.parametrize("text", ["", "[1", "{]", "1 2", "nonsense"])
def test_what_is_no_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        loads(text)
