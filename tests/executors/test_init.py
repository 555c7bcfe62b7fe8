from __future__ import annotations

from pathlib import Path

import pytest

from jobkit import executors
from jobkit.errors import SpecError


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SpecError, match="got 'slrum', expected one of local, slurm, ssh"):
        executors.load("slrum")


def test_every_module_of_the_folder_is_known_and_keeps_the_contract() -> None:
    folder = Path(executors.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert modules <= set(executors.KNOWN)
    for name in modules:
        executor = executors.load(name)
        assert callable(executor.prepare)
        assert callable(executor.submit)


@pytest.mark.parametrize("name", executors.KNOWN)
def test_each_has_what_an_executor_offers(name: str) -> None:
    found = executors.load(name)
    assert callable(found.prepare)
    assert callable(found.submit)
