"""The nccl backend, which this version does not bundle: it says so wherever it is wanted."""

from __future__ import annotations

import pytest

from jobkit.errors import BackendError
from jobkit.native import nccl


def test_it_is_configured_when_all_of_its_variables_are_set() -> None:
    full = dict.fromkeys(nccl.VARIABLES, "x")
    assert nccl.is_configured(full)
    for name in nccl.VARIABLES:
        assert not nccl.is_configured({**full, name: ""})


@pytest.mark.parametrize("strict", [False, True])
def test_where_it_is_wanted_it_says_that_only_ring_is_bundled(strict: bool) -> None:
    environ = {} if strict else dict.fromkeys(nccl.VARIABLES, "x")
    with pytest.raises(BackendError, match="backend nccl: not bundled in this version, expected ring"):
        nccl.init(environ, strict)


def test_elsewhere_it_is_silent() -> None:
    assert nccl.init({}, False) is None
    assert not nccl.is_available({})
