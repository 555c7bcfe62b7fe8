"""The mpi backend, which this version does not bundle: it says so wherever it is wanted."""

from __future__ import annotations

import pytest

from jobkit.errors import BackendError
from jobkit.native import mpi


@pytest.mark.parametrize("name", ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_a_launcher_of_several_processes_configures_it(name: str) -> None:
    assert mpi.is_configured({name: "2"})
    assert not mpi.is_configured({name: "1"})
    assert not mpi.is_configured({})


@pytest.mark.parametrize(("environ", "strict"), [({"PMI_SIZE": "2"}, False), ({}, True)])
def test_where_it_is_wanted_it_says_that_only_ring_is_bundled(environ: dict[str, str], strict: bool) -> None:
    with pytest.raises(BackendError, match="backend mpi: not bundled in this version, expected ring"):
        mpi.init(environ, strict)


def test_elsewhere_it_is_silent() -> None:
    assert mpi.init({}, False) is None
    assert not mpi.is_available({})
