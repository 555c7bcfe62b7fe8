from __future__ import annotations

from pathlib import Path

import pytest

from jobkit.slurm import naming


@pytest.mark.parametrize("name", ["slurm-12.log", "slurm-12_3.log"])
def test_the_log_of_a_script_tells_its_number(name: str, tmp_path: Path) -> None:
    assert naming.log(tmp_path) is None
    (tmp_path / name).touch()
    log = naming.log(tmp_path)
    assert log is not None
    assert (log.name, naming.number_in(log)) == (name, "12")
