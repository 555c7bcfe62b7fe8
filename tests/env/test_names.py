from __future__ import annotations

from jobkit.env import names


def test_no_name_is_in_two_parts_of_the_contract() -> None:
    every = [*names.CONTRACT, *names.TORCH, *names.OWN]
    assert len(every) == len(set(every))


def test_settings_are_not_placement() -> None:
    assert not {"JOBKIT_HOME", "JOBKIT_TIMEOUT_S", "JOBKIT_SHM"} & {*names.OWN}
