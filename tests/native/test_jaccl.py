"""The jaccl backend, which this version does not bundle: it says so wherever it is wanted."""

from __future__ import annotations

import pytest

from jobkit.errors import BackendError
from jobkit.native import jaccl


def test_it_is_configured_when_all_of_its_variables_are_set() -> None:
    full = dict.fromkeys(jaccl.VARIABLES, "x")
    assert jaccl.is_configured(full)
    for name in jaccl.VARIABLES:
        assert not jaccl.is_configured({**full, name: ""})


@pytest.mark.parametrize("strict", [False, True])
def test_where_it_is_wanted_it_says_that_only_ring_is_bundled(strict: bool) -> None:
    environ = {} if strict else dict.fromkeys(jaccl.VARIABLES, "x")
    with pytest.raises(BackendError, match="backend jaccl: not bundled in this version, expected ring"):
        jaccl.init(environ, strict)


def test_elsewhere_it_is_silent() -> None:
    assert jaccl.init({}, False) is None
    assert not jaccl.is_available({})
