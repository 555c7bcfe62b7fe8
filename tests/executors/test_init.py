from __future__ import annotations

from pathlib import Path

import pytest

from jobkit import executors
from jobkit.errors import SpecError, SubmitError


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


def test_what_is_not_in_this_version_is_told() -> None:
    missing = [n for n in executors.KNOWN if not (Path(executors.__file__).parent / f"{n}.py").exists()]
    for name in missing:
        with pytest.raises(SubmitError, match=f"executor {name}: not available in this version"):
            executors.load(name)
